//! What runs in an environment at a moment, as a pack has it: the answer, cut to what a pack may hold. What is cut is
//! counted, and a token says where the next pack goes on.

use std::collections::BTreeMap;

use pedigraph_projector::answers::Environment;
use pedigraph_projector::{AsOf, Moment, Scope};
use pedigraph_proto::Nanos;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::{ANSWER_BYTES_MAX, proofs_in};
use crate::answer::environment::environment_of;
use crate::answer::error as answer;
use crate::json::{self, to_json};
use crate::token::PageToken;

/// Services of one pack.
pub const SERVICES_MAX: usize = 1_000;
/// Pages of services that are counted beyond those in the pack.
const COUNTED_PAGES_MAX: usize = 20;

/// `environment` of a manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Of {
    /// Its name.
    pub name: String,
    /// The moment of what happened; absent: the newest that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The newest index that the answer uses: the manifest's, or an earlier one.
    pub as_of: u64,
}

/// An environment that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Both clocks.
    pub moment: Moment,
    /// Where the pack before ended.
    pub page_token: Option<String>,
    /// Services of the pack at most.
    pub services_max: usize,
}

/// The same, as of entries under a checkpoint.
pub struct Scoped {
    asked: Asked,
    scope: Scope,
    after: Option<Vec<u8>>,
}

/// `answers/environment.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InEnvironment {
    #[serde(flatten)]
    environment: Environment,
    as_of: u64,
    /// Services that come after these and are not in the pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    services_left_out: Option<usize>,
    /// There are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    services_left_out_at_least: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl Asked {
    /// As of this moment, or of `newest`, the last entry under the checkpoint, where that is earlier.
    ///
    /// # Errors
    /// [`answer::Error::Parameter`] for a token of another question; those of `scope`.
    pub fn scoped(
        self,
        newest: u64,
        scope: impl Fn(Moment) -> Result<Scope, pedigraph_projector::Error>,
    ) -> Result<Scoped, Error> {
        let token = self.page_token.as_deref().map(|token| PageToken::decode(token, &self.question()).ok_or(token));
        let token = token.transpose().map_err(|_| {
            let allowed = "the nextPageToken of an earlier pack of the same environment and moment".to_owned();
            answer::Error::Parameter { name: "pageToken", allowed }
        })?;
        let pinned = token.as_ref().and_then(|token| token.as_of).map(AsOf::Index);
        let under = Moment { at: self.moment.at, as_of: Some(AsOf::Index(newest)) };
        let moment = Moment { at: self.moment.at, as_of: pinned.or(self.moment.as_of) };
        let mut known = scope(moment).map_err(answer::Error::from)?;
        if known.as_of().is_some_and(|as_of| as_of > newest) {
            known = scope(under).map_err(answer::Error::from)?;
        }
        Ok(Scoped { asked: self, scope: known, after: token.map(|token| token.key) })
    }

    /// What a token goes on with.
    fn question(&self) -> String {
        let at = self.moment.at.map(|at| at.to_string()).unwrap_or_default();
        format!("evidence pack of {:?} at {at}", self.name)
    }
}

impl Scoped {
    /// For the manifest.
    pub(super) fn of(&self) -> Of {
        let at = self.scope.at().map(|at: Nanos| at.to_string());
        Of { name: self.asked.name.clone(), at, as_of: self.scope.as_of().unwrap_or_default() }
    }

    /// The answer, with as many services as fit.
    pub(super) fn answer(&self, entries_max: usize) -> Result<InEnvironment, Error> {
        let mut services_max = self.asked.services_max.clamp(1, SERVICES_MAX);
        loop {
            let (environment, next) = self.page(self.after.as_deref(), services_max)?;
            let services = environment.services.len();
            if self.fits(&environment, entries_max)? || services <= 1 {
                return self.told(environment, next);
            }
            services_max = services / 2;
        }
    }

    fn page(&self, after: Option<&[u8]>, limit: usize) -> Result<(Environment, Option<Vec<u8>>), Error> {
        Ok(environment_of(&self.scope, &self.asked.name, false, after, limit)?)
    }

    fn fits(&self, environment: &Environment, entries_max: usize) -> Result<bool, Error> {
        let bytes = match to_json(environment, ANSWER_BYTES_MAX / 2) {
            Ok(bytes) => bytes,
            Err(json::Error::TooLarge(_)) => return Ok(false),
            Err(json::Error::Failed(error)) => return Err(Error::Failed(error.to_string())),
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| Error::Failed(error.to_string()))?;
        let mut proofs = BTreeMap::new();
        let twice = |index| Error::Failed(format!("an answer gives entry {index} different hashes"));
        proofs_in(&value, &mut proofs).map_err(twice)?;
        Ok(proofs.len() <= entries_max)
    }

    fn told(&self, environment: Environment, next: Option<Vec<u8>>) -> Result<InEnvironment, Error> {
        let (mut left_out, mut after, mut pages) = (0, next.clone(), 0);
        while let Some(key) = after.take_if(|_| pages < COUNTED_PAGES_MAX) {
            let (rest, further) = self.page(Some(&key), SERVICES_MAX)?;
            left_out += rest.services.len();
            (after, pages) = (further, pages + 1);
        }
        let as_of = self.scope.as_of();
        let token = next.map(|key| PageToken { as_of, key }.encode(&self.asked.question()));
        Ok(InEnvironment {
            environment,
            as_of: as_of.unwrap_or_default(),
            services_left_out: token.as_ref().map(|_| left_out),
            services_left_out_at_least: after.is_some(),
            next_page_token: token,
        })
    }
}
