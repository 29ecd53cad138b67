//! Which of the materials of a build is the base of its product (SPEC §3.1): the one that annotation, layers or history
//! of the image name too, or the only image among them that is no tool. The others stay materials.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::ArtifactRef;

use super::edges::{BaseRow, is_image, same_platform};
use super::identity::{Graph, Profile};
use crate::error::Error;
use crate::facts::lineage::rows::BaseMethod;

/// An image among the materials of one build.
struct Image<'c> {
    row: &'c BaseRow,
    profile: Rc<Profile>,
    /// It, the indexes above it and the manifests below it: any of them may be what others call the base.
    kin: BTreeSet<String>,
}

impl Graph<'_> {
    /// The materials among `claims` that are the base of an artifact.
    pub(super) fn material_bases<'c>(
        &self,
        profile: &Profile,
        claims: &'c [BaseRow],
    ) -> Result<Vec<&'c BaseRow>, Error> {
        // One fact lists the materials of one build.
        let mut builds: BTreeMap<(u64, u32), Vec<Image<'c>>> = BTreeMap::new();
        for claim in claims {
            if let Some(image) = self.image_material(profile, claim)? {
                let stamp = &claim.1.stamp;
                builds.entry((stamp.index, stamp.ordinal)).or_default().push(image);
            }
        }
        let mut bases = Vec::new();
        for images in builds.into_values() {
            let only =
                images.first().is_some_and(|first| images.iter().all(|one| first.kin.contains(&one.profile.digest)));
            for image in images {
                if only || self.is_named_too(profile, &image, claims)? {
                    bases.push(image.row);
                }
            }
        }
        Ok(bases)
    }

    /// Whether a material, named by the digest that a fact writes, is the base of an artifact.
    pub(super) fn is_material_base(&self, derived: &Profile, material: &str) -> Result<bool, Error> {
        let claims = self.base_claims(derived, &mut false)?;
        Ok(self.material_bases(derived, &claims)?.iter().any(|(base, _)| base == material))
    }

    fn image_material<'c>(&self, derived: &Profile, claim: &'c BaseRow) -> Result<Option<Image<'c>>, Error> {
        let said = match claim.1.value.method {
            BaseMethod::Image => true,
            BaseMethod::Material => false,
            BaseMethod::Declared | BaseMethod::Annotation | BaseMethod::Tool => return Ok(None),
        };
        let Some(profile) = self.profile(&claim.0)?.filter(|image| said || is_image(image)) else { return Ok(None) };
        if profile.digest == derived.digest {
            return Ok(None);
        }
        let joined = [self.above(&profile.digest)?, self.below(&profile.digest)?];
        let mut kin: BTreeSet<String> =
            joined.into_iter().flat_map(|joined| joined.members).map(|member| member.digest).collect();
        kin.insert(profile.digest.clone());
        Ok(Some(Image { row: claim, profile, kin }))
    }

    /// Do annotation, layers or history of an artifact name a material as its base too?
    fn is_named_too(&self, derived: &Profile, image: &Image<'_>, claims: &[BaseRow]) -> Result<bool, Error> {
        for (base, row) in claims {
            let says_so = matches!(row.value.method, BaseMethod::Annotation | BaseMethod::Declared);
            if says_so && image.kin.contains(&self.canonical(base)?) {
                return Ok(true);
            }
        }
        Ok(self.is_below_layers(derived, image)? || self.is_in_history(derived, image)?)
    }

    fn is_below_layers(&self, derived: &Profile, image: &Image<'_>) -> Result<bool, Error> {
        let mut prefixes = BTreeSet::new();
        for (chain, _) in self.chains(derived)? {
            prefixes.extend(chain.iter().rev().skip(1).copied());
        }
        if prefixes.is_empty() {
            return Ok(false);
        }
        for digest in &image.kin {
            let Some(part) = self.profile(digest)? else { continue };
            let fits = derived.line.platform.is_empty()
                || part.line.platform.is_empty()
                || same_platform(&part.line.platform, &derived.line.platform);
            if !fits {
                continue;
            }
            if self.chains(&part)?.iter().any(|(chain, _)| chain.last().is_some_and(|all| prefixes.contains(all))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// By what the tag pointed at when the artifact was built, or by the same name in the material's address.
    fn is_in_history(&self, derived: &Profile, image: &Image<'_>) -> Result<bool, Error> {
        let written = ArtifactRef::parse(&image.row.1.value.reference);
        let written = written.map(|reference| (reference.repository_key(), reference.tag));
        for (named, _) in self.tagged_bases(derived, &mut false)? {
            if written.as_ref() == Some(&named) && !named.1.is_empty() {
                return Ok(true);
            }
            if self.bases_of_tag(derived, &named.0, &named.1)?.iter().any(|base| image.kin.contains(base)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
