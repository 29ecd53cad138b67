//! `pedigraph export`: an evidence pack of artifacts, or of what runs in an environment.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::Reader;
use pedigraph_projector::{AsOf, Moment, Views};
use pedigraph_proto::{Nanos, TenantId};
use pedigraph_query_api::pack::error::Error;
use pedigraph_query_api::pack::write::{self, Limits, Question};
use pedigraph_query_api::pack::{environment, read};
use pedigraph_query_api::problem::Problem;
use serde_json::{Value, json};

use crate::arguments::{Clocks, LogLocation, log_id, no_tenant};
use crate::config::Config;
use crate::data_dir::existing_ledger;
use crate::files::Draft;
use crate::node::now_ns;
use crate::output::{Exit, Failure, put, say};
use crate::signers;

/// Bytes of the views' cache while a pack is made of a data directory.
const CACHE_BYTES: u64 = 256 << 20;

/// `pedigraph export`
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// Digests of artifacts, or references that lead to one (repository:tag).
    #[arg(required_unless_present = "env", value_name = "DIGEST")]
    artifacts: Vec<String>,
    /// What runs in an environment, with the entry of each deployment.
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// Of the environment: where the pack before ended; `verify` tells it.
    #[arg(long, value_name = "TOKEN", requires = "env")]
    page_token: Option<String>,
    #[command(flatten)]
    clocks: Clocks,
    /// The file to write; replaced in one step if it is there.
    #[arg(short, long, value_name = "FILE", default_value = "evidence-pack.zip")]
    output: PathBuf,
    /// Leave out the bodies of attestations.
    #[arg(long)]
    no_attestations: bool,
    /// Do not sign: entries and documents are proved by the checkpoint all the same, answers are not.
    #[arg(long)]
    no_sign: bool,
    /// An older checkpoint that was kept: the pack proves that the log is a continuation of it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The server's TOML file, which names its signer; with --data, whose server is stopped.
    #[arg(long, env = "PEDIGRAPH_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    location: LogLocation,
}

impl Export {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let since = self.checkpoint.as_deref().map(size_of).transpose()?;
        let mut draft = Draft::beside(&self.output)?;
        let (digest, bytes) = match &self.location.data {
            Some(data) => self.of_directory(data, since, &draft.file)?,
            None => self.of_server(since, &mut draft.file)?,
        };
        draft.become_file(&self.output)?;
        put(&digest);
        say(&format!(
            "{bytes} bytes written to {0}; check them with `pedigraph verify {0} --vkey KEY`",
            self.output.display()
        ));
        Ok(())
    }

    fn of_server(&self, since: Option<u64>, file: &mut File) -> anyhow::Result<(String, u64)> {
        let server = self.location.server();
        let environment = self.env.as_ref().map(|name| {
            let (at, as_of) = (self.clocks.at(), self.clocks.as_of());
            json!({"name": name, "at": at, "asOf": as_of, "pageToken": self.page_token})
        });
        let question = json!({
            "environment": environment,
            "artifactDigests": self.artifacts, "includeAttestations": !self.no_attestations,
            "sign": !self.no_sign, "since": since,
        });
        let json = [("content-type", "application/json")];
        let exported =
            server.post("/api/v1/lineage/export", &json, question.to_string().as_bytes())?.ok(&self.location.url)?;
        let exported: Value = serde_json::from_slice(&exported.body)?;
        let text = |name: &str| exported[name].as_str().with_context(|| format!("the server's answer has no {name}"));
        let bytes = server.download(text("downloadUrl")?, file)?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let (found, digest) = (read::digest(file)?, text("bundleDigest")?.to_owned());
        if found != digest {
            let what = format!("what was received is {found}, the server announced {digest}; export it again");
            return Err(Failure::error(Exit::Error, what));
        }
        Ok((digest, bytes))
    }

    fn of_directory(&self, data: &Path, since: Option<u64>, file: &File) -> anyhow::Result<(String, u64)> {
        let tenant = TenantId::new(&self.location.tenant).ok_or_else(|| no_tenant(&self.location.tenant))?;
        let log = log_id(&self.location.tenant)?;
        let reader = pedigraph_ledger::open_reader(&existing_ledger(data)?)?;
        let config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        let signer = match self.no_sign {
            true => None,
            false => Some(reader.signer(signers::configured(&config)?.as_ref())?),
        };
        let views = views(data, &reader)?;
        if !views.wait_folded(reader.next_seq()) {
            anyhow::bail!("the views cannot be folded: {}", views.fault().unwrap_or_default());
        }
        let checkpoint = write::checkpoint_of(&reader, &log).map_err(failed)?;
        let newest = Moment { at: None, as_of: Some(AsOf::Index(checkpoint.size.saturating_sub(1))) };
        let question =
            Question { artifacts: self.artifacts.clone(), include_attestations: !self.no_attestations, since };
        let now = Nanos(now_ns());
        let at = |moment| Ok(views.at(&tenant, moment)?.asked_at(now));
        let scope = at(newest)?;
        let environment = self.environment()?.map(|asked| asked.scoped(checkpoint.size.saturating_sub(1), at));
        let environment = environment.transpose().map_err(failed)?;
        let limits = Limits::default();
        let plan = write::plan(&reader, &log, &scope, checkpoint, &question, environment.as_ref(), &limits);
        let plan = plan.map_err(failed)?;
        let written = plan.write(signer.as_ref(), file).map_err(failed)?;
        views.close()?;
        Ok((written.digest, written.bytes))
    }
}

impl Export {
    /// The environment that is asked for; the times were read with the arguments.
    fn environment(&self) -> anyhow::Result<Option<environment::Asked>> {
        let Some(name) = self.env.clone() else { return Ok(None) };
        let time = |text: &str| Nanos::parse(text).with_context(|| format!("{text} is no time"));
        let at = self.clocks.at().map(time).transpose()?;
        let as_of = self.clocks.as_of().map(|text| match text.parse() {
            Ok(index) => Ok(AsOf::Index(index)),
            Err(_) => time(text).map(AsOf::Time),
        });
        let moment = Moment { at, as_of: as_of.transpose()? };
        let (page_token, services_max) = (self.page_token.clone(), environment::SERVICES_MAX);
        Ok(Some(environment::Asked { name, moment, page_token, services_max }))
    }
}

fn views(data: &Path, reader: &Reader) -> anyhow::Result<Views> {
    let options = pedigraph_projector::Options { cache_bytes: CACHE_BYTES, store: None };
    let in_use = "export from the server that uses it (--url), or stop that";
    Views::open(&data.join("views"), reader.clone(), &options).with_context(|| format!("{}: {in_use}", data.display()))
}

/// The size that an older checkpoint signs; whether it is one is checked by who verifies the pack.
fn size_of(file: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let size = text.split('\n').nth(1).and_then(|size| size.parse().ok());
    size.ok_or_else(|| Failure::error(Exit::Usage, format!("{} is not a checkpoint", file.display())))
}

fn failed(error: Error) -> anyhow::Error {
    if let Error::Failed(why) = error {
        return anyhow::anyhow!("the pack cannot be written: {why}");
    }
    let problem = Problem::from(error);
    let exit = match problem.status().as_u16() {
        404 => Exit::NotFound,
        400 => Exit::Usage,
        _ => Exit::Error,
    };
    Failure::error(exit, format!("{}: {}", problem.code(), problem.detail()))
}
