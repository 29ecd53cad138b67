//! One box for everything: typed guesses, best first.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use pedigraph_proto::{ArtifactRef, Purl};

use super::answers::{Candidate, Candidates, Found};
use super::identity::{Graph, fields};
use super::refs::{CANDIDATES_MAX, CANDIDATES_SOUGHT, Target, artifact_candidate, commit_text, service_candidate};
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::components::rows as components;
use crate::facts::components::rows::{PACKAGE_NAMES, bare_name};
use crate::facts::lineage::rows;
use crate::facts::lineage::rows::{RunId, table};
use crate::store::key::{Key, KeyReader};

/// Words of a text that may name a package: namespace, name, version, and one more.
const PACKAGE_WORDS_MAX: usize = 4;
/// Letters from which on packages are found whose names only begin so.
const PACKAGE_BEGINNING_MIN: usize = 3;
/// Artifacts of a repository that are looked at for the lines that it has.
const MEMBERS_LOOKED_AT_MAX: usize = 16;
/// Versions of a line that are looked at for the newest at the question's moment.
const NEWEST_LOOKED_AT_MAX: usize = 16;
/// Bytes of a query.
const QUERY_BYTES_MAX: usize = 4_096;

impl Graph<'_> {
    /// What a text may name.
    pub(super) fn resolve(&self, query: &str) -> Result<Candidates, Error> {
        let query = query.trim();
        if query.is_empty() {
            return Ok(Candidates::default());
        }
        if query.len() > QUERY_BYTES_MAX {
            return Err(Error::Question(format!("q is longer than {QUERY_BYTES_MAX} bytes: shorten it")));
        }
        let mut found = Vec::new();
        self.by_reference(query, &mut found)?;
        self.environments_and_services(query, &mut found)?;
        self.commits(query, &mut found)?;
        self.runs(query, &mut found)?;
        self.repositories(query, &mut found)?;
        self.vulnerabilities(query, &mut found)?;
        self.purls(query, &mut found)?;
        self.packages(query, &mut found)?;
        let mut seen = BTreeSet::new();
        found.retain(|candidate| {
            // Runs of one id differ by what numbers them, services by where the name of their environment ends.
            let apart = match candidate.kind.as_str() {
                "run" => Some(candidate.label.clone()),
                _ => candidate.environment.clone(),
            };
            seen.insert((candidate.kind.clone(), candidate.id.clone(), apart))
        });
        let truncated = found.len() > CANDIDATES_MAX;
        found.truncate(CANDIDATES_MAX);
        Ok(Candidates { candidates: found, truncated })
    }

    fn by_reference(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        match self.target(query)? {
            Found::Nothing => {}
            Found::Ambiguous(candidates) => found.extend(candidates),
            Found::One(Target::Artifact(digest)) => found.extend(self.candidates([digest].iter())?),
            Found::One(Target::Running(place)) => {
                found.push(service_candidate(&place.service, &place.environment));
                if let Some(digest) = &place.digest {
                    found.push(artifact_candidate(digest, &place.artifact_ref));
                }
            }
        }
        Ok(())
    }

    /// Repositories by their names without a tag, each by its newest version: the one that is written so, else, where
    /// nothing else is found, those whose names end so.
    fn repositories(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let is_name = |reference: &ArtifactRef| reference.digest.is_none() && reference.tag.is_empty();
        let Some(reference) = ArtifactRef::parse(query).filter(is_name) else { return Ok(()) };
        if let Some(newest) = self.newest_in(&reference.repository_key())? {
            found.push(newest);
            return Ok(());
        }
        if !found.is_empty() {
            return Ok(());
        }
        self.each_repository(query, "", |repository| {
            found.extend(self.newest_in(repository)?);
            Ok(if found.len() < CANDIDATES_SOUGHT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    /// The newest version in a repository: of several lines, as those of platforms are, some are looked at, and what is no
    /// part of an index goes before what is.
    fn newest_in(&self, repository: &str) -> Result<Option<Candidate>, Error> {
        let members = self.key(table::LINE).text(repository);
        let (mut lines, mut newest) = (BTreeSet::new(), None);
        for digest in self.scope.texts_under(&members, MEMBERS_LOOKED_AT_MAX)? {
            let Some(line) = self.line_of(&digest)?.filter(|line| lines.insert(*line)) else { continue };
            for version in self.newest_of_line(&line, NEWEST_LOOKED_AT_MAX)?.0 {
                let Some(profile) = self.profile(&version)? else { continue };
                let is_part = !self.above(&profile.digest)?.members.is_empty();
                newest = newest.max(Some((!is_part, profile.created.time, version, profile.reference.clone())));
                break;
            }
        }
        Ok(newest.map(|(_, _, digest, reference)| artifact_candidate(&digest, &reference)))
    }

    fn environments_and_services(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        if self.scope.environment_is_named(query)? {
            let summary = self.scope.environment_summary(query.to_owned())?;
            found.insert(
                0,
                Candidate {
                    kind: "environment".to_owned(),
                    id: query.to_owned(),
                    label: format!("{} services", summary.services),
                    digest: None,
                    environment: None,
                },
            );
        }
        for environment in self.scope.environments_of_service(query, CANDIDATES_SOUGHT)? {
            found.push(service_candidate(query, &environment));
        }
        Ok(())
    }

    fn commits(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        // Behind a repository or in an address too.
        let named = query.trim_end_matches('/').rsplit(['/', '@']).next().unwrap_or(query);
        let Some(prefix) = commit_text(named) else { return Ok(()) };
        let mut commits = BTreeSet::new();
        for table in [table::CHANGES, table::BUILT_FROM] {
            let table = self.key(table);
            commits.extend(self.next_texts(&table, &table.clone().text_prefix(&prefix))?);
        }
        for commit in commits.into_iter().take(CANDIDATES_SOUGHT) {
            let built = self.built_from(&commit, 2)?;
            let label = match built.len() {
                0 => "no artifact is known".to_owned(),
                1 => "built into one artifact".to_owned(),
                _ => "built into several artifacts".to_owned(),
            };
            let digest = built.into_iter().next();
            found.push(Candidate { kind: "commit".to_owned(), id: commit, label, digest, environment: None });
        }
        Ok(())
    }

    /// Different texts that come next after a beginning of keys, from a place on, by one seek each. What happened or
    /// became known later takes no place among them.
    fn next_texts(&self, beginning: &Key, from: &Key) -> Result<Vec<String>, Error> {
        let (mut next, end) = (from.clone(), from.prefix_end());
        let mut texts = Vec::new();
        while texts.len() < CANDIDATES_SOUGHT {
            let Some(key) = self.scope.next_key(&next, &end, Clocks::Both)? else { break };
            let Some(text) = KeyReader::new(&key[beginning.as_bytes().len()..]).text() else { break };
            next = beginning.clone().text(&text).prefix_end();
            texts.push(text);
        }
        Ok(texts)
    }

    /// The runs that go by an id, else the attempts of the run whose page this is the address of, the newest first.
    fn runs(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let before = found.len();
        self.runs_of_id(query, found)?;
        if found.len() > before || !query.contains("://") {
            return Ok(());
        }
        let (beginning, mut attempts) = (format!("{}/attempts/", query.trim_end_matches('/')), BTreeSet::new());
        for table in [table::WORK, table::PRODUCTS] {
            let table = self.key(table);
            attempts.extend(self.next_texts(&table, &table.clone().text_prefix(&beginning))?);
        }
        let number = |id: &String| id.strip_prefix(&beginning).and_then(|number| number.parse::<u64>().ok());
        let mut attempts: Vec<_> = attempts.into_iter().filter_map(|id| Some((number(&id)?, id))).collect();
        attempts.sort_unstable_by(|a, b| b.cmp(a));
        attempts.into_iter().take(CANDIDATES_SOUGHT).try_for_each(|(_, id)| self.runs_of_id(&id, found))
    }

    /// One for each source that numbers runs.
    fn runs_of_id(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let mut sources = BTreeSet::new();
        for table in [table::WORK, table::PRODUCTS] {
            let run = self.key(table).text(query);
            sources.extend(self.next_texts(&run, &run)?);
        }
        for source in &sources {
            let run = RunId { id: query.to_owned(), source: source.clone() };
            let prefix = run.key(self.key(table::PRODUCTS));
            let product = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, 1)?;
            let digest = product.first().and_then(|(key, _)| {
                let mut reader = fields(key)?;
                (0..2).try_for_each(|_| reader.text().map(drop))?;
                reader.text()
            });
            let digest = digest.map(|digest| self.canonical(&digest)).transpose()?;
            let alone = sources.len() == 1 || source.is_empty();
            let label = if alone { format!("run {query}") } else { format!("run {query} of {source}") };
            found.push(Candidate { kind: "run".to_owned(), id: query.to_owned(), label, digest, environment: None });
        }
        Ok(())
    }

    fn vulnerabilities(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let id = query.to_ascii_uppercase();
        if id.len() > pedigraph_proto::VULNERABILITY_BYTES_MAX {
            return Ok(());
        }
        let looks_so = id.starts_with("CVE-") || id.starts_with("GHSA-");
        let prefix = rows::key(&self.scope.tenant, table::VULNERABILITIES).text(&id);
        let known = self.next_texts(&prefix, &prefix)?.len();
        let is_named = known > 0 || self.scope.names_vulnerability(&id)?;
        if !is_named && !looks_so {
            return Ok(());
        }
        let label = match known {
            0 if is_named => "named by an advisory or a statement".to_owned(),
            0 => "nobody names it".to_owned(),
            1 => "named for one artifact".to_owned(),
            known if known > CANDIDATES_MAX => format!("named for more than {CANDIDATES_MAX} artifacts"),
            known => format!("named for {known} artifacts"),
        };
        let (kind, id) = ("vulnerability".to_owned(), query.to_owned());
        found.push(Candidate { kind, id, label, digest: None, environment: None });
        Ok(())
    }

    /// Packages that go by a name without kind and namespace, with or without a version behind it: `log4j-core 2.14.1`,
    /// `org.apache.logging.log4j:log4j-core`. Names that only begin so are listed where nothing else is found.
    fn packages(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let words: Vec<&str> = query.split([' ', '@', ':']).filter(|word| !word.is_empty()).collect();
        if query.starts_with("pkg:") || words.len() > PACKAGE_WORDS_MAX {
            return Ok(());
        }
        let names = components::table(&self.scope.tenant, PACKAGE_NAMES);
        for (at, word) in words.iter().enumerate() {
            let (before, after) = (&words[..at], &words[at + 1..]);
            let name = bare_name(word);
            if after.len() > 1 || name.is_empty() {
                continue;
            }
            self.each_package(&names.clone().text(&name), |package| {
                if is_named_so(package, word, before) {
                    found.push(package_candidate(package, after.first().copied()));
                }
                found.len() < CANDIDATES_SOUGHT
            })?;
        }
        match words[..] {
            [word] if found.is_empty() && word.len() >= PACKAGE_BEGINNING_MIN => {
                self.each_package(&names.text_prefix(&bare_name(word)), |package| {
                    found.extend(is_named_so(package, word, &[]).then(|| package_candidate(package, None)));
                    found.len() < CANDIDATES_SOUGHT
                })
            }
            _ => Ok(()),
        }
    }

    /// Visits packages under a beginning of their names without kind and namespace, by a seek each, while the visit asks
    /// for more.
    fn each_package(&self, beginning: &Key, mut visit: impl FnMut(&str) -> bool) -> Result<(), Error> {
        let names = components::table(&self.scope.tenant, PACKAGE_NAMES);
        let (mut next, end) = (beginning.clone(), beginning.prefix_end());
        while let Some(key) = self.scope.next_key(&next, &end, Clocks::Both)? {
            let mut reader = KeyReader::after(&key, &names);
            let Some((name, package)) = reader.text().zip(reader.text()) else { break };
            if !visit(&package) {
                break;
            }
            next = names.clone().text(&name).text(&package).prefix_end();
        }
        Ok(())
    }

    fn purls(&self, query: &str, found: &mut Vec<Candidate>) -> Result<(), Error> {
        let Some(purl) = Purl::parse(query) else { return Ok(()) };
        let id = purl.as_str().to_owned();
        let digest = self.by_purl(query)?.into_iter().next();
        let (kind, label) = ("purl".to_owned(), purl.package().to_owned());
        found.push(Candidate { kind, label, id, digest, environment: None });
        Ok(())
    }
}

/// Whether a package has all of a namespace that a word has before its name, and the words before it.
fn is_named_so(package: &str, word: &str, before: &[&str]) -> bool {
    let package = package.to_lowercase();
    let namespace = word.rsplit_once('/').map(|(namespace, _)| namespace);
    namespace.into_iter().chain(before.iter().copied()).all(|part| package.contains(&part.to_lowercase()))
}

fn package_candidate(package: &str, version: Option<&str>) -> Candidate {
    let id = version.map_or_else(|| package.to_owned(), |version| format!("{package}@{version}"));
    Candidate { kind: "purl".to_owned(), label: id.clone(), id, digest: None, environment: None }
}
