//! Source code and the work of pipelines: commits, refs, runs and what they produced.

use pedigraph_proto::event::{ChangeMerged, RefUpdated, RunFinished, RunStarted};
use pedigraph_proto::fact;
use pedigraph_proto::json;

use super::fold::{Fold, clip, digest};
use super::rows::{Claim, Class, CommitFact, Work, key_text, table};
use crate::error::Error;
use crate::facts::view::StandsAt;

impl Fold<'_, '_, '_> {
    pub(super) fn of_source(&mut self, event: fact::Source<'_>) -> Result<(), Error> {
        match event {
            fact::Source::ChangeMerged(event) => self.change_merged(event),
            fact::Source::RefUpdated(event) => self.ref_updated(event),
            fact::Source::RepositoryObserved(_) => Ok(()),
        }
    }

    pub(super) fn of_work(&mut self, event: fact::Work<'_>) -> Result<(), Error> {
        match event {
            fact::Work::RunStarted(event) => self.run_started(event),
            fact::Work::RunFinished(event) => self.run_finished(event),
            fact::Work::StepFinished(_) => Ok(()),
        }
    }

    fn change_merged(&mut self, event: &ChangeMerged) -> Result<(), Error> {
        if event.commit.is_empty() {
            return Ok(());
        }
        let fact = CommitFact {
            repository: clip(&event.repository),
            change_id: clip(&event.change_id),
            title: clip(&event.title),
            url: clip(&event.url),
            author: clip(&event.author),
            reference: clip(&event.target_branch),
        };
        self.rows.put(self.key(table::CHANGES).text(&key_text(&event.commit)).stamp(self.at), &fact)
    }

    fn ref_updated(&mut self, event: &RefUpdated) -> Result<(), Error> {
        if event.commit.is_empty() || event.deleted {
            return Ok(());
        }
        let fact = CommitFact {
            repository: clip(&event.repository),
            change_id: String::new(),
            title: String::new(),
            url: String::new(),
            author: String::new(),
            reference: clip(&event.r#ref),
        };
        self.rows.put(self.key(table::CHANGES).text(&key_text(&event.commit)).stamp(self.at), &fact)
    }

    fn run_started(&mut self, event: &RunStarted) -> Result<(), Error> {
        let work = Work {
            finished: false,
            pipeline: clip(&event.pipeline),
            url: clip(&event.url),
            commit: clip(&event.commit),
            repository: clip(&event.repository),
            builder: clip(&event.builder),
            outcome: String::new(),
        };
        let run = self.run_id(&event.run, &event.run_source);
        self.rows.put(run.key(self.key(table::WORK)).stamp(self.at), &work)
    }

    fn run_finished(&mut self, event: &RunFinished) -> Result<(), Error> {
        let work = Work {
            finished: true,
            pipeline: clip(&event.pipeline),
            url: clip(&event.url),
            commit: clip(&event.commit),
            repository: clip(&event.repository),
            builder: clip(&event.builder),
            outcome: json::outcome::word(event.outcome()),
        };
        let run = self.run_id(&event.run, &event.run_source);
        self.rows.put(run.key(self.key(table::WORK)).stamp(self.at), &work)?;
        let mut products: Vec<String> = event.artifact_digests.iter().filter_map(|text| digest(text)).collect();
        products.sort();
        products.dedup();
        for product in products {
            self.name(&product, Class::Built, "", 0, "")?;
            self.product(&run, &product)?;
            let claim = Claim {
                commit: key_text(&event.commit),
                repository: clip(&event.repository),
                change_id: String::new(),
                run: run.clone(),
                pipeline: key_text(&event.pipeline),
                builder: clip(&event.builder),
                said_by: "run".to_owned(),
            };
            self.made(&product, &claim)?;
        }
        Ok(())
    }
}
