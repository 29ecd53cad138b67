//! The commands (SPEC §8).

use clap::{CommandFactory, Parser, Subcommand};

use crate::arguments::Serve;
use crate::commands::{
    backup, compare, config, deltas, demo, diff, env, export, impact, key, lanes, log, publish, rebuild, rejects,
    restore, service, token, topics, trace, verdict, verify,
};
use crate::node;
use crate::output::{put, put_bytes};

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 not allowed, 5 verification failed, 6 stale, 7 unreachable,
8 the disk failed and the writer stopped, 9 a witness knows another history of the ledger.
Data goes to stdout, talk to stderr. Tables may change; JSON (-o json) is the API's own answer.";

/// Artifact lineage with proof: what runs, what built it, what is in it, what changed.
#[derive(Parser, Debug)]
#[command(name = "pedigraph", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The whole system with a story in it, in a temporary directory: look around in seconds.
    Demo(demo::Arguments),
    /// Write node and read node in one process, durable in --data.
    Up(Serve),
    /// Write node alone: sources, validation, ledger. Its HTTP side has intake, health and metrics.
    Process(Serve),
    /// Read node alone: follows the ledger that a `process` on the same directory writes, folds it, answers.
    Serve(Serve),
    /// Send events or documents and print their receipts.
    Publish(publish::Publish),
    /// From a running thing back to its source: deployment, artifact, evidence, run, commit.
    Trace(trace::Trace),
    /// The line of versions of an artifact as a graph of text, newest first, with badges.
    Lanes(lanes::Lanes),
    /// What contains a package or is concerned by a vulnerability, and where that runs.
    Impact(impact::Impact),
    /// What is said of an artifact and a vulnerability, by whom, and what it comes to.
    Verdict(verdict::Verdict),
    /// What changed between two artifacts: components, licences, verdicts.
    Diff(diff::Diff),
    /// Where verdicts differ from one version to the next: of a vulnerability, or between two versions.
    Deltas(deltas::Deltas),
    /// Two artifacts side by side: what both come from, the way between them, evidence, what each was made of.
    Compare(compare::Compare),
    /// What runs in an environment.
    Env(env::Env),
    /// In which environments a service runs, and what ran before in one of them.
    Service(service::Service),
    /// Everything that is known about artifacts as one signed zip, which is checked without a server.
    Export(export::Export),
    /// Check a ledger, completely and without trusting it: a data directory, a static copy, a log at a URL; or an
    /// evidence pack or one proof, offline.
    Verify(verify::Verify),
    /// Fold the views anew from the ledger, and say whether the result is the same.
    Rebuild(rebuild::Rebuild),
    /// Copy a ledger whose server may be running, or bring an older copy up to date.
    Backup(backup::Backup),
    /// Make a ledger of a copy. One that would lose what was published is refused.
    Restore(restore::Restore),
    /// The ledger: key, entries, proofs, static copies.
    #[command(subcommand)]
    Log(log::Log),
    /// The key that signs the ledger's checkpoints: look at it, replace it.
    #[command(subcommand)]
    Key(key::Key),
    /// Who may ask a server what: static tokens with a tenant and scopes, hashed in a file.
    #[command(subcommand)]
    Token(token::Command),
    /// Where each source partition stands: position, end, lag, and what to do where its position is gone.
    Topics(topics::Topics),
    /// Messages that were rejected: look at them, drive them again.
    #[command(subcommand)]
    Rejects(rejects::Rejects),
    /// The configuration as it is understood.
    #[command(subcommand)]
    Config(config::Command),
    /// Shell completions on stdout.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Name and version.
    Version,
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Up(serve) => node::run(node::Role::Both, &serve.resolve()?),
            Command::Process(serve) => node::run(node::Role::Write, &serve.resolve()?),
            Command::Serve(serve) => node::run(node::Role::Read, &serve.resolve()?),
            Command::Publish(publish) => publish.run(),
            Command::Trace(trace) => trace.run(),
            Command::Lanes(lanes) => lanes.run(),
            Command::Impact(impact) => impact.run(),
            Command::Verdict(verdict) => verdict.run(),
            Command::Diff(diff) => diff.run(),
            Command::Deltas(deltas) => deltas.run(),
            Command::Compare(compare) => compare.run(),
            Command::Env(env) => env.run(),
            Command::Service(service) => service.run(),
            Command::Export(export) => export.run(),
            Command::Verify(verify) => verify.run(),
            Command::Rebuild(rebuild) => rebuild.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Log(log) => log.run(),
            Command::Key(key) => key.run(),
            Command::Token(token) => token.run(),
            Command::Topics(topics) => topics.run(),
            Command::Rejects(rejects) => rejects.run(),
            Command::Config(command) => command.run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "pedigraph", &mut script);
                put_bytes(&script);
                Ok(())
            }
            Command::Version => {
                put(&format!("pedigraph {}", env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
