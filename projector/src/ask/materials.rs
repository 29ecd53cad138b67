//! Which of the materials of a build is the base of its product (SPEC §3.1): the one that annotation, layers or history
//! of the image name too, or the only image among them that is no tool. The others stay materials.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::ArtifactRef;

use super::edges::{EDGE_ROWS_MAX, is_image, is_material, same_platform};
use super::identity::{BaseRow, Build, Graph, Image, Profile};
use crate::error::Error;
use crate::facts::lineage::rows::{BaseMethod, StatementId, table};

/// Images among the materials of one build that are told apart. Of more, only what annotation, layers or history name
/// too is sought among the first.
const IMAGES_MAX: usize = 256;

/// What an image itself says of its base.
struct Hints {
    /// Canonical digests of what it names as its base.
    named: BTreeSet<String>,
    /// Its layers but the last, but the last two, and so on.
    prefixes: BTreeSet<[u8; 32]>,
    /// Repository keys and tags in its history, with what they pointed at when it was built.
    history: Vec<((String, String), Vec<String>)>,
}

impl Graph<'_> {
    /// What builds of an artifact list that is its base; `claims` are what facts about it alone say.
    pub(super) fn material_bases(
        &self,
        profile: &Profile,
        claims: &[BaseRow],
        cut: &mut bool,
    ) -> Result<Vec<BaseRow>, Error> {
        let (mut bases, mut hints) = (Vec::new(), None);
        for build in self.builds_with_materials(profile, claims, cut)? {
            bases.extend(self.bases_of(profile, &build, &mut hints)?.into_iter().map(|image| image.row.clone()));
        }
        Ok(bases)
    }

    /// In the order of the ledger. Where statements about one artifact have too many materials, the newest count.
    fn builds_with_materials(
        &self,
        profile: &Profile,
        claims: &[BaseRow],
        cut: &mut bool,
    ) -> Result<Vec<Rc<Build>>, Error> {
        let mut builds = self.claimed_builds(claims)?;
        let mut rows = 0;
        for id in self.statements_of(table::STATED_MATERIALS, &profile.group, cut)? {
            if rows >= EDGE_ROWS_MAX {
                *cut = true;
                break;
            }
            let build = self.stated_build(id)?;
            rows += build.rows;
            *cut |= build.cut;
            builds.insert(id, build);
        }
        Ok(builds.into_values().collect())
    }

    /// A fact about one artifact lists the materials of one build.
    fn claimed_builds(&self, claims: &[BaseRow]) -> Result<BTreeMap<StatementId, Rc<Build>>, Error> {
        let mut said: BTreeMap<StatementId, Vec<BaseRow>> = BTreeMap::new();
        for claim in claims.iter().filter(|(_, row)| is_material(row.value.method)) {
            let stamp = &claim.1.stamp;
            let fact = StatementId { index: stamp.index, ordinal: stamp.ordinal.saturating_sub(1) };
            said.entry(fact).or_default().push(claim.clone());
        }
        said.into_iter().map(|(fact, rows)| Ok((fact, Rc::new(self.build(rows, false)?)))).collect()
    }

    /// Each is read once, however many artifacts it is of.
    fn stated_build(&self, id: StatementId) -> Result<Rc<Build>, Error> {
        if let Some(known) = self.builds.borrow().get(&id) {
            return Ok(known.clone());
        }
        let materials = self.materials_of(id)?;
        let build = Rc::new(self.build(materials.rows, materials.cut)?);
        self.builds.borrow_mut().insert(id, build.clone());
        Ok(build)
    }

    fn build(&self, rows: Vec<BaseRow>, cut: bool) -> Result<Build, Error> {
        let mut build = Build { images: Vec::new(), rows: rows.len(), cut };
        for row in rows {
            let Some(image) = self.image_material(row)? else { continue };
            if build.images.len() == IMAGES_MAX {
                build.cut = true;
                break;
            }
            build.images.push(image);
        }
        Ok(build)
    }

    fn image_material(&self, row: BaseRow) -> Result<Option<Image>, Error> {
        let said = match row.1.value.method {
            BaseMethod::Image => true,
            BaseMethod::Material => false,
            BaseMethod::Declared | BaseMethod::Annotation | BaseMethod::Tool => return Ok(None),
        };
        let Some(profile) = self.profile(&row.0)?.filter(|image| said || is_image(image)) else { return Ok(None) };
        let (above, below) = (self.above(&profile.digest)?, self.below(&profile.digest)?);
        let mut kin: BTreeSet<String> = above.digests().chain(below.digests()).cloned().collect();
        kin.insert(profile.digest.clone());
        Ok(Some(Image { row, profile, kin, layers: OnceCell::new() }))
    }

    /// The bases of an artifact among the images of a build of it. What it says itself is read when it is needed.
    fn bases_of<'b>(
        &self,
        derived: &Profile,
        build: &'b Build,
        hints: &mut Option<Hints>,
    ) -> Result<Vec<&'b Image>, Error> {
        let others = || build.images.iter().filter(|image| image.profile.digest != derived.digest);
        let only = |first: &Image| others().all(|other| first.kin.contains(&other.profile.digest));
        if others().next().is_none_or(only) && !build.cut {
            return Ok(others().collect());
        }
        let hints = match hints {
            Some(hints) => hints,
            None => hints.insert(self.hints(derived)?),
        };
        let mut bases = Vec::new();
        for image in others() {
            if self.is_named_too(derived, image, hints)? {
                bases.push(image);
            }
        }
        Ok(bases)
    }

    fn hints(&self, derived: &Profile) -> Result<Hints, Error> {
        let mut hints = Hints { named: BTreeSet::new(), prefixes: BTreeSet::new(), history: Vec::new() };
        for (base, row) in self.base_claims(derived, &mut false)? {
            if matches!(row.value.method, BaseMethod::Annotation | BaseMethod::Declared) {
                hints.named.insert(self.canonical(&base)?);
            }
        }
        for (chain, _) in self.chains(derived)? {
            hints.prefixes.extend(chain.iter().rev().skip(1).copied());
        }
        for (named, _) in self.tagged_bases(derived, &mut false)? {
            let bases = self.bases_of_tag(derived, &named.0, &named.1)?;
            hints.history.push((named, bases));
        }
        Ok(hints)
    }

    /// Do annotation, layers or history of an artifact name a material as its base too?
    fn is_named_too(&self, derived: &Profile, image: &Image, hints: &Hints) -> Result<bool, Error> {
        let named = image.kin.iter().any(|digest| hints.named.contains(digest));
        Ok(named || hints.name_in_history(image) || self.is_below_layers(derived, image, hints)?)
    }

    fn is_below_layers(&self, derived: &Profile, image: &Image, hints: &Hints) -> Result<bool, Error> {
        if hints.prefixes.is_empty() {
            return Ok(false);
        }
        let platform = &derived.line.platform;
        let fits = |of: &str| platform.is_empty() || of.is_empty() || same_platform(of, platform);
        Ok(self.layers_of(image)?.iter().any(|(all, of)| hints.prefixes.contains(all) && fits(of)))
    }

    fn layers_of<'i>(&self, image: &'i Image) -> Result<&'i [([u8; 32], String)], Error> {
        if let Some(known) = image.layers.get() {
            return Ok(known);
        }
        let mut layers = Vec::new();
        for digest in &image.kin {
            let Some(part) = self.profile(digest)? else { continue };
            let whole = self.chains(&part)?.into_iter().filter_map(|(chain, _)| chain.last().copied());
            layers.extend(whole.map(|all| (all, part.line.platform.clone())));
        }
        Ok(image.layers.get_or_init(|| layers))
    }
}

impl Hints {
    /// By what the tag pointed at when the artifact was built, or by the same name in the material's address.
    fn name_in_history(&self, image: &Image) -> bool {
        let written = ArtifactRef::parse(&image.row.1.value.reference);
        let written = written.map(|reference| (reference.repository_key(), reference.tag));
        self.history.iter().any(|(named, bases)| {
            (written.as_ref() == Some(named) && !named.1.is_empty())
                || bases.iter().any(|base| image.kin.contains(base))
        })
    }
}
