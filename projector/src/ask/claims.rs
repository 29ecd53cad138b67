//! What facts say about where an artifact comes from, and which of it is its own (SPEC §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::edges::{Link, Links, Relation};
use super::identity::{Graph, Profile};
use super::kept::once;
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::lineage::rows::{Claim, class, table};
use crate::rows::stamp::{Stamp, Stamped};

/// Claims of one kind about one digest that are held against each other: the newest.
const CLAIMS_MAX: usize = 100;

/// A claim of origin with where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) stamp: Stamp,
    pub(super) value: Claim,
    /// Of the manifest that it is a claim about, in the answer about its index; else empty.
    pub(super) platform: String,
}

impl Claimed {
    /// It names one of the commits that went into a build, and not the source.
    pub(super) fn is_material(&self) -> bool {
        self.value.said_by == "material"
    }
}

impl Graph<'_> {
    /// What facts say about where an artifact comes from, in the order of their facts; where nothing is said of it,
    /// what is said of its index or its manifests.
    pub(super) fn claims(&self, profile: &Profile) -> Result<Vec<Claimed>, Error> {
        let mut claims = self.claims_of(profile, "")?;
        if claims.iter().all(|claim| claim.value.commit.is_empty() || claim.value.run.id.is_empty()) {
            for member in &self.above(&profile.digest)?.members {
                if let Some(member) = self.profile(&member.digest)? {
                    claims.extend(self.claims_of(&member, "")?);
                }
            }
            for member in &self.below(&profile.digest)?.members {
                if let Some(below) = self.profile(&member.digest)? {
                    claims.extend(self.claims_of(&below, &member.platform)?);
                }
            }
        }
        claims.sort_by_key(|claim| claim.stamp.order());
        Ok(claims)
    }

    /// Is this commit what an artifact says of itself, and not a label that came with its base?
    pub(super) fn is_built_from(&self, digest: &str, commit: &str) -> Result<bool, Error> {
        let Some(profile) = self.profile(digest)? else { return Ok(true) };
        Ok(self.claims_of(&profile, "")?.iter().any(|claim| claim.value.commit == commit))
    }

    /// Claims about one artifact alone, which are read once. A label with the value that its base has is the base's.
    fn claims_of(&self, profile: &Profile, platform: &str) -> Result<Vec<Claimed>, Error> {
        let rows = once(&self.own_claims, &profile.digest, || self.read_claims_of(profile).map(Rc::new))?;
        let claimed = |row: &Stamped<Claim>| Claimed {
            stamp: row.stamp,
            value: row.value.clone(),
            platform: platform.to_owned(),
        };
        Ok(rows.iter().map(claimed).collect())
    }

    fn read_claims_of(&self, profile: &Profile) -> Result<Vec<Stamped<Claim>>, Error> {
        let mut rows = self.claim_rows(&profile.group, &[class::BUILD, class::PUBLISHED, class::LABEL])?;
        rows.extend(self.stated_claims(&profile.group)?);
        if rows.iter().any(is_label) {
            let inherited = self.labels_of_bases(profile)?;
            rows.retain(|row| !is_label(row) || !inherited.contains(&row.value.commit));
        }
        Ok(rows)
    }

    /// What is said of one kind never pushes out what is said of another.
    fn claim_rows(&self, digests: &[String], classes: &[u8]) -> Result<Vec<Stamped<Claim>>, Error> {
        let mut claims = Vec::new();
        for digest in digests {
            for class in classes {
                let prefix = self.key(table::CLAIMS).text(digest).byte(*class);
                let rows = self.scope.keyed(&prefix, &prefix.prefix_end(), true, Clocks::Both, CLAIMS_MAX)?;
                claims.extend(rows.into_iter().map(|(_, row)| row));
            }
        }
        Ok(claims)
    }

    /// Commits that the bases of an artifact are labelled with.
    fn labels_of_bases(&self, profile: &Profile) -> Result<BTreeSet<String>, Error> {
        let mut links = Links::default();
        self.bases_in(profile, &mut links)?;
        let mut digests = BTreeSet::new();
        for base in links.links.into_iter().map(|link| link.from).collect::<BTreeSet<String>>() {
            digests.extend(self.group(&base)?.digests.iter().cloned());
            for above in &self.above(&base)?.members {
                digests.extend(self.group(&above.digest)?.digests.iter().cloned());
            }
        }
        let labels = self.claim_rows(&digests.into_iter().collect::<Vec<_>>(), &[class::LABEL])?;
        Ok(labels.into_iter().filter(is_label).map(|label| label.value.commit).collect())
    }

    /// The base edges of what an index lists, each with the platform.
    pub(super) fn bases_below(&self, profile: &Profile) -> Result<Vec<(Link, String)>, Error> {
        let mut bases = Vec::new();
        for member in &self.below(&profile.digest)?.members {
            let Some(below) = self.profile(&member.digest)? else { continue };
            let mut links = Links::default();
            self.bases_in(&below, &mut links)?;
            let of_base = links.links.into_iter().filter(|link| link.relation == Relation::Base);
            bases.extend(of_base.map(|link| (link, member.platform.clone())));
        }
        Ok(bases)
    }
}

fn is_label(row: &Stamped<Claim>) -> bool {
    row.value.said_by == "annotation" && !row.value.commit.is_empty()
}

/// For an index: the platforms whose manifests say the same as the claim that is shown, then what the others say.
pub(super) fn platforms(claims: &[Claimed], shown: &Claimed, said: fn(&Claim) -> &String) -> String {
    if shown.platform.is_empty() {
        return String::new();
    }
    let mut by_value: BTreeMap<&String, BTreeSet<&str>> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| !claim.platform.is_empty() && !said(&claim.value).is_empty()) {
        by_value.entry(said(&claim.value)).or_default().insert(&claim.platform);
    }
    let list = |platforms: &BTreeSet<&str>| platforms.iter().copied().collect::<Vec<_>>().join(", ");
    let same = by_value.remove(said(&shown.value)).unwrap_or_default();
    let others = by_value.iter().map(|(value, platforms)| format!("; {}: {value}", list(platforms)));
    format!(" ({}{})", list(&same), others.collect::<String>())
}
