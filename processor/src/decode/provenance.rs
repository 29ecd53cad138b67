//! SLSA provenance v0.1, v0.2 and v1: who built, in which run, from which commit and what else went in.
//!
//! The commit is the one that the build type says is the source; a repository that is merely among the materials (of
//! the pipeline's definition, of a submodule) is none (SPEC §3.1). What a build used as a tool is told from what it
//! used up.

use std::borrow::Cow;
use std::collections::BTreeSet;

use pedigraph_proto::event::{AttestationAttached, Material};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::{ArtifactRef, Purl};
use serde::Deserialize;

use super::facts::{Aliases, NAME_BYTES_MAX, canonical_of, digests, first_time, is_commit};
use super::read::{List, Obj, Own, Pairs, Text, TextOr, Whole, clip_to};

/// Provenance of all versions: v0.1 has `recipe`, v0.2 `invocation` and `materials`, v1 `buildDefinition` and
/// `runDetails`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Provenance<'a> {
    #[serde(borrow)]
    builder: Obj<Named<'a>>,
    #[serde(borrow)]
    build_type: Text<'a>,
    #[serde(borrow)]
    recipe: Obj<Recipe<'a>>,
    #[serde(borrow)]
    invocation: Obj<Invocation<'a>>,
    #[serde(borrow)]
    metadata: Obj<Metadata<'a>>,
    #[serde(borrow)]
    materials: List<Obj<Resource<'a>>>,
    #[serde(borrow)]
    build_definition: Obj<BuildDefinition<'a>>,
    #[serde(borrow)]
    run_details: Obj<RunDetails<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Recipe<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    /// Which of the materials holds the build's definition: what later versions call `configSource`.
    defined_in_material: Own<Whole>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Invocation<'a> {
    #[serde(borrow)]
    config_source: Obj<Resource<'a>>,
    #[serde(borrow)]
    parameters: Own<Request<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    invocation_id: Text<'a>,
    /// As BuildKit and GitLab write it.
    #[serde(borrow, rename = "invocationID")]
    invocation_id_capital: Text<'a>,
    #[serde(borrow)]
    build_invocation_id: Text<'a>,
    #[serde(borrow, rename = "buildInvocationID")]
    build_invocation_id_capital: Text<'a>,
    #[serde(borrow)]
    started_on: Text<'a>,
    #[serde(borrow)]
    build_started_on: Text<'a>,
    #[serde(borrow)]
    finished_on: Text<'a>,
    #[serde(borrow)]
    build_finished_on: Text<'a>,
    /// BuildKit's own, in v0.2.
    #[serde(borrow, rename = "https://mobyproject.org/buildkit@v1#metadata")]
    buildkit_v02: Own<BuildKit<'a>>,
    /// BuildKit's own, in v1.
    #[serde(borrow, rename = "buildkit_metadata")]
    buildkit: Own<BuildKit<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BuildKit<'a> {
    #[serde(borrow)]
    vcs: Own<Vcs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vcs<'a> {
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    revision: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    digest: Pairs<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BuildDefinition<'a> {
    #[serde(borrow)]
    build_type: Text<'a>,
    #[serde(borrow)]
    external_parameters: Own<ExternalParameters<'a>>,
    #[serde(borrow)]
    resolved_dependencies: List<Obj<Resource<'a>>>,
}

/// Parameters are the build type's own; these names are common to the public builders.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ExternalParameters<'a> {
    /// GitHub Actions, npm.
    #[serde(borrow)]
    workflow: Own<Workflow<'a>>,
    /// Container-based builds; GitLab, as a text.
    #[serde(borrow)]
    source: Own<TextOr<'a, Resource<'a>>>,
    /// Google Cloud Build.
    #[serde(borrow)]
    source_to_build: Own<Workflow<'a>>,
    /// Google Cloud Build, where the definition is the source.
    #[serde(borrow)]
    build_config_source: Own<Workflow<'a>>,
    /// BuildKit.
    #[serde(borrow)]
    config_source: Own<Resource<'a>>,
    /// BuildKit.
    #[serde(borrow)]
    request: Own<Request<'a>>,
    /// Container-based builds.
    #[serde(borrow)]
    builder_image: Own<Resource<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Workflow<'a> {
    #[serde(borrow)]
    repository: Text<'a>,
}

/// How BuildKit was called.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    args: Own<Pairs<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RunDetails<'a> {
    #[serde(borrow)]
    builder: Obj<Named<'a>>,
    #[serde(borrow)]
    metadata: Obj<Metadata<'a>>,
}

/// What Tekton calls the materials that define a build rather than go into it.
const DEFINITIONS: [&str; 4] = ["pipeline", "pipelineTask", "task", "stepAction"];

impl Provenance<'_> {
    /// Fills in what is said of the build; the materials come back, and their digests where they name several.
    pub(super) fn describe(
        &self,
        head: &mut AttestationAttached,
        materials_max: usize,
        aliases: &mut Aliases,
    ) -> Result<Vec<Material>, Reject> {
        let (old, new) = (&self.metadata.0, &self.run_details.0.metadata.0);
        head.builder = self.run_details.0.builder.0.id.or(&self.builder.0.id).whole();
        head.build_type = self.build_type().whole();
        let old_invocation = old.build_invocation_id.or(&old.build_invocation_id_capital);
        head.invocation = new.invocation_id.or(&new.invocation_id_capital).or(old_invocation).whole();
        head.started_on = first_time(&[&new.started_on, &old.build_started_on]);
        head.finished_on = first_time(&[&new.finished_on, &old.build_finished_on]);
        let materials = self.materials();
        (head.repository, head.commit) = self.source(&materials);
        if materials.len() > materials_max {
            return Err(Reject::new(Code::TooManyItems, format!("more than {materials_max} materials")));
        }
        let tools = Tools::of(self);
        materials.iter().for_each(|material| aliases.note(digests(&material.digest)));
        Ok(materials.into_iter().map(|resource| material(resource, &tools)).collect())
    }

    fn build_type(&self) -> &Text<'_> {
        self.build_definition.0.build_type.or(&self.build_type).or(&self.recipe.0.kind)
    }

    fn materials(&self) -> Vec<&Resource<'_>> {
        let all = self.materials.0.iter().chain(&self.build_definition.0.resolved_dependencies.0);
        all.map(|Obj(resource)| resource).collect()
    }

    /// Repository and commit that were built: as the build type says, else those of the only commit among the
    /// materials.
    fn source(&self, materials: &[&Resource<'_>]) -> (String, String) {
        let named = materials.iter().filter(|material| material.name.as_str() == "inputs/result");
        if let Some(found) = only(named.filter_map(|material| revision(material))) {
            return found;
        }
        for declared in self.declared(materials) {
            let name = declared.repository;
            if name.is_empty() {
                continue;
            }
            if let Some(commit) = declared.commit {
                return (name.into_owned(), commit);
            }
            let same = materials.iter().filter_map(|material| revision_in(&name, material));
            let commit = only(same.map(|commit| (String::new(), commit))).map(|(_, commit)| commit);
            return (name.into_owned(), commit.unwrap_or_default());
        }
        let sources = materials.iter().filter(|material| !DEFINITIONS.contains(&material.name.as_str()));
        let definition = self.definition();
        let (defining, sources): (Vec<_>, Vec<_>) = sources
            .filter_map(|material| revision(material))
            .partition(|revision| definition.is_some_and(|definition| is_of(definition, revision)));
        // Where nothing else went into it, the task is kept beside what it builds.
        only(if sources.is_empty() { defining } else { sources }.into_iter()).unwrap_or_default()
    }

    /// Where the definition of a build comes from that is not its source: Tekton's `configSource` is that of the task or
    /// pipeline, which a catalog may have.
    fn definition(&self) -> Option<&Resource<'_>> {
        let build_type = self.build_type().as_str();
        let is_tekton = build_type.strip_prefix("https://").unwrap_or(build_type).starts_with("tekton.dev/");
        is_tekton.then_some(&self.invocation.0.config_source.0)
    }

    /// What the build type calls its source, in the order in which it counts.
    fn declared<'s>(&'s self, materials: &[&'s Resource<'s>]) -> Vec<Declared<'s>> {
        let parameters = &self.build_definition.0.external_parameters.0;
        let mut all = Vec::with_capacity(8);
        all.push(Declared::by_name(&parameters.source_to_build.0.repository));
        all.push(match &parameters.source.0 {
            TextOr::Text(uri) => Declared { repository: repository(uri), commit: None },
            TextOr::Object(source) => Declared::of(source),
        });
        all.push(Declared::by_name(&parameters.workflow.0.repository));
        all.push(Declared::by_name(&parameters.build_config_source.0.repository));
        all.push(Declared::of(&parameters.config_source.0));
        if self.definition().is_none() {
            all.push(Declared::of(&self.invocation.0.config_source.0));
        }
        let defined_in = self.recipe.0.defined_in_material.0.0.and_then(|place| usize::try_from(place).ok());
        all.extend(defined_in.and_then(|place| materials.get(place)).map(|material| Declared::of(material)));
        let metadata = [&self.run_details.0.metadata.0.buildkit, &self.metadata.0.buildkit_v02];
        all.extend(metadata.map(|metadata| Declared::by_vcs(&metadata.0.vcs.0)));
        all
    }
}

/// A repository that a build type calls the source.
struct Declared<'a> {
    repository: Cow<'a, str>,
    commit: Option<String>,
}

impl<'a> Declared<'a> {
    fn by_name(name: &'a Text<'_>) -> Declared<'a> {
        Declared { repository: repository(name.as_str()), commit: None }
    }

    fn of(resource: &'a Resource<'_>) -> Declared<'a> {
        Declared { repository: repository(resource.uri.as_str()), commit: commit(resource) }
    }

    /// A work tree with changes of its own is not its commit: `-dirty` behind it claims none.
    fn by_vcs(vcs: &'a Vcs<'_>) -> Declared<'a> {
        let commit = Some(vcs.revision.as_str()).filter(|revision| is_commit(revision));
        Declared { repository: repository(vcs.source.as_str()), commit: commit.map(str::to_ascii_lowercase) }
    }
}

/// The pair that all are; `None` where there is none or several differ.
fn only(mut pairs: impl Iterator<Item = (String, String)>) -> Option<(String, String)> {
    let first = pairs.next()?;
    pairs.all(|pair| pair.1 == first.1).then_some(first)
}

/// Repository and commit of a material that is a checkout of sources.
fn revision(material: &Resource<'_>) -> Option<(String, String)> {
    let uri = material.uri.as_str();
    let commit = commit(material).filter(|_| is_checkout(uri) || !material.digest.get("gitCommit").is_empty())?;
    Some((repository(uri).into_owned(), commit))
}

fn revision_in(name: &str, material: &Resource<'_>) -> Option<String> {
    let same = repository(material.uri.as_str()).eq_ignore_ascii_case(name);
    same.then(|| commit(material)).flatten()
}

/// Whether a revision is that from which a build's definition comes: Tekton writes one repository with and without the
/// commit behind it. Another commit of the same repository is not.
fn is_of(definition: &Resource<'_>, (name, built): &(String, String)) -> bool {
    repository(definition.uri.as_str()).eq_ignore_ascii_case(name)
        && commit(definition).is_none_or(|defined| defined == *built)
}

/// Whether a SHA-1 beside this URI is a commit's and not a file's.
fn is_checkout(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let other = ["pkg:", "oci:", "docker:", "docker-image:", "docker-pullable:", "file:"];
    !uri.is_empty() && !other.iter().any(|scheme| path.starts_with(scheme)) && !is_file(path)
}

/// Whether a path ends as that of an archive or a package does.
pub(super) fn is_file(path: &str) -> bool {
    const FILES: [&str; 16] = [
        ".bz2", ".crate", ".deb", ".gem", ".gz", ".iso", ".jar", ".json", ".nupkg", ".pom", ".rpm", ".tgz", ".war",
        ".whl", ".xz", ".zip",
    ];
    FILES.iter().any(|ending| path.ends_with(ending))
}

/// `git+https://host/a/b@refs/heads/main` is the repository `https://host/a/b`, and so are pages of a commit: Cloud
/// Build's `https://host/a/b/commit/<hash>`, GitLab's `https://host/a/b/-/commit/<hash>` and `…/-/tree/<hash>`.
fn repository(uri: &str) -> Cow<'_, str> {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    let path = uri.find("://").map_or(0, |scheme| scheme + 3);
    let authority_end = uri[path..].find('/').map_or(uri.len(), |slash| path + slash);
    let end = uri[authority_end..].find(['@', '#', '?']).map_or(uri.len(), |mark| authority_end + mark);
    let name = &uri[..end];
    let page =
        ["/commit/", "/tree/"].iter().find_map(|page| name.rsplit_once(page).filter(|(_, hash)| is_commit(hash)));
    let name = page.map_or(name, |(name, _)| name.strip_suffix("/-").unwrap_or(name));
    Cow::Borrowed(name.strip_suffix(".git").unwrap_or(name))
}

/// The commit of a resource by its digests, else by its URI. GitLab calls the SHA-1 of a commit `sha256`: its length
/// tells.
fn commit(resource: &Resource<'_>) -> Option<String> {
    let digest = &resource.digest;
    let named = ["gitCommit", "sha1"].map(|name| digest.get(name)).into_iter().find(|hash| is_commit(hash));
    let short = Some(digest.get("sha256")).filter(|hash| hash.len() == 40 && is_commit(hash));
    let by_uri = || checked_out(resource.uri.as_str()).filter(|_| digest.0.is_empty());
    Some(named.or(short).or_else(by_uri)?.to_ascii_lowercase())
}

/// The commit of `git+https://host/a/b@<40 hex digits>`.
fn checked_out(uri: &str) -> Option<&str> {
    let path = uri.strip_prefix("git+")?.split(['?', '#']).next()?;
    path.rsplit_once('@').map(|(_, revision)| revision).filter(|revision| is_commit(revision))
}

fn material(resource: &Resource<'_>, tools: &Tools<'_>) -> Material {
    let uri = resource.uri.or(&resource.name).as_str();
    Material {
        uri: clip_to(uri, NAME_BYTES_MAX).to_owned(),
        digest: canonical_of(digests(&resource.digest)).map(|digest| digest.to_string()).unwrap_or_default(),
        tool: tools.is_tool(resource),
    }
}

/// What tells the tools of a build from what went into its product.
struct Tools<'a> {
    /// Every image that this build type lists ran a step of it, unless it is named as an input.
    images_run_steps: bool,
    /// Images that the build's parameters call the builder or the frontend, by URI and by repository key.
    named: BTreeSet<Cow<'a, str>>,
}

impl<'a> Tools<'a> {
    fn of(provenance: &'a Provenance<'_>) -> Tools<'a> {
        let build_type = provenance.build_type().as_str();
        let parameters = &provenance.build_definition.0.external_parameters.0;
        let mut named = BTreeSet::new();
        named.insert(Cow::Borrowed(parameters.builder_image.0.uri.as_str()));
        for request in [&provenance.invocation.0.parameters.0, &parameters.request.0] {
            // The frontend that a call or a Dockerfile's first line asks for.
            let frontends = ["source", "build-arg:BUILDKIT_SYNTAX"].map(|name| request.args.0.get(name));
            named.extend(frontends.into_iter().filter_map(image_key).map(Cow::Owned));
        }
        named.remove("");
        let images_run_steps = ["tekton.dev/", "tekton.dev:", "google-worker", "CloudBuild"];
        Tools { images_run_steps: images_run_steps.iter().any(|word| build_type.contains(word)), named }
    }

    fn is_tool(&self, resource: &Resource<'_>) -> bool {
        let (uri, name) = (resource.uri.as_str(), resource.name.as_str());
        let Some(key) = image_key(uri).filter(|_| is_image(uri) || self.images_run_steps && is_bare_image(uri)) else {
            return self.named.contains(uri);
        };
        self.named.contains(uri)
            || self.named.contains(key.as_str())
            || is_known_tool(&key)
            || (self.images_run_steps && !name.starts_with("inputs/"))
    }
}

/// Whether a material's URI says that it is a container image.
fn is_image(uri: &str) -> bool {
    const SCHEMES: [&str; 6] =
        ["pkg:oci/", "pkg:docker/", "oci://", "docker://", "docker-image://", "docker-pullable://"];
    SCHEMES.iter().any(|scheme| uri.starts_with(scheme))
}

/// Google Cloud Build writes images as plain references with a digest.
fn is_bare_image(uri: &str) -> bool {
    !uri.contains("://") && uri.contains("@sha256:")
}

/// The repository of an image, as it is compared.
fn image_key(uri: &str) -> Option<String> {
    // BuildKit's purls may carry the digest as a qualifier.
    let named = ArtifactRef::parse(uri).or_else(|| ArtifactRef::parse(Purl::parse(uri)?.package()))?;
    Some(named.repository_key()).filter(|key| !key.is_empty())
}

/// Images that only ever build other images.
fn is_known_tool(key: &str) -> bool {
    const TOOLS: [&str; 12] = [
        "docker.io/docker/dockerfile",
        "docker.io/docker/dockerfile-upstream",
        "docker.io/docker/buildkit-syft-scanner",
        "docker.io/docker/buildx-bin",
        "docker.io/moby/buildkit",
        "docker.io/tonistiigi/binfmt",
        "docker.io/tonistiigi/xx",
        "docker.io/buildpacksio/lifecycle",
        "gcr.io/kaniko-project/executor",
        "quay.io/buildah/stable",
        "quay.io/podman/stable",
        "cgr.dev/chainguard/ko",
    ];
    // Cloud Native Buildpacks name their builders so: paketobuildpacks/builder-jammy-base, gcr.io/buildpacks/builder.
    let buildpacks = key.contains("buildpacks/builder") || key.contains("heroku/builder");
    TOOLS.contains(&key) || key.starts_with("gcr.io/cloud-builders/") || buildpacks
}
