//! The commands and their arguments (SPEC §8).

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::Server;
use crate::output::{Format, put};
use crate::{client, config, demo, ledger_ops, ledger_tools, node, pack, signers, tokens, verify};

const AFTER_HELP: &str = "Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 not allowed, 5 verification failed, 6 stale, 7 unreachable, \
8 the disk failed and the writer stopped, 9 a witness knows another history of the ledger.\nData goes to stdout, talk to stderr. Tables may change; JSON (-o json) is the API's own answer.";

/// Artifact lineage with proof: what runs, what built it, what is in it, what changed.
#[derive(Parser, Debug)]
#[command(name = "pedigraph", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where a client finds its server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Client {
    /// The server.
    #[arg(long, env = "PEDIGRAPH_URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub(crate) url: String,
    /// Bearer token, for a server that asks for one.
    #[arg(long, env = "PEDIGRAPH_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
}

/// What a server process needs. A flag wins over its environment variable, that over the file, that over the default.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Serve {
    /// Directory of the ledger and the views; created if absent [default: pedigraph-data].
    #[arg(long, env = "PEDIGRAPH_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Address of API and pages; port 0 picks one [default: 127.0.0.1:8080].
    #[arg(long, env = "PEDIGRAPH_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// File of static tokens (`pedigraph token new` makes it): every request needs one, and any address may be listened on; none: loopback
    /// only, and everybody there may everything.
    #[arg(long, env = "PEDIGRAPH_TOKENS", value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// Kafka bootstrap servers, host:port, comma-separated; none: no Kafka.
    #[arg(long, env = "PEDIGRAPH_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Topics, comma-separated [default: pedigraph.ci,pedigraph.cd,pedigraph.scanner,pedigraph.runtime].
    #[arg(long, env = "PEDIGRAPH_TOPICS", value_delimiter = ',')]
    pub(crate) topics: Option<Vec<String>>,
    /// Consumer group [default: pedigraph].
    #[arg(long, env = "PEDIGRAPH_GROUP")]
    pub(crate) group: Option<String>,
    /// Milliseconds between the view roots that `up` records in the ledger; 0: none [default: 60000].
    #[arg(long, env = "PEDIGRAPH_VIEW_ROOT_INTERVAL_MS")]
    pub(crate) view_root_interval_ms: Option<u64>,
    /// C2SP tlog-policy file: its witnesses are asked to cosign every checkpoint; none: checkpoints carry the ledger's signature alone.
    #[arg(long, env = "PEDIGRAPH_WITNESS_POLICY")]
    pub(crate) witness_policy: Option<PathBuf>,
    /// What becomes of a checkpoint that the policy's quorum has not cosigned [default: publish].
    #[arg(long, env = "PEDIGRAPH_WITNESS_MODE", value_enum)]
    pub(crate) witness_mode: Option<config::WitnessMode>,
    /// Milliseconds that one answer of a witness may take [default: 2000].
    #[arg(long, env = "PEDIGRAPH_WITNESS_TIMEOUT_MS")]
    pub(crate) witness_timeout_ms: Option<u64>,
    /// TOML file with these and further settings (see `pedigraph config show`).
    #[arg(long, env = "PEDIGRAPH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
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
    Publish(client::Publish),
    /// From a running thing back to its source: deployment, artifact, evidence, run, commit.
    Trace(client::Trace),
    /// What contains a package and where that runs.
    Impact(client::Impact),
    /// What runs in an environment.
    Env(client::Env),
    /// Everything that is known about artifacts as one signed zip, which is checked without a server.
    Export(pack::Export),
    /// Check a ledger, completely and without trusting it: a data directory, a static copy, a log at a URL; or an evidence pack or one
    /// proof, offline.
    Verify(verify::Verify),
    /// Fold the views anew from the ledger, and say whether the result is the same.
    Rebuild(ledger_tools::Rebuild),
    /// Copy a ledger whose server may be running, or bring an older copy up to date.
    Backup(ledger_ops::Backup),
    /// Make a ledger of a copy. One that would lose what was published is refused.
    Restore(ledger_ops::Restore),
    /// The ledger: key, entries, proofs, static copies.
    #[command(subcommand)]
    Log(ledger_tools::Log),
    /// The key that signs the ledger's checkpoints: look at it, replace it.
    #[command(subcommand)]
    Key(signers::Key),
    /// Who may ask a server what: static tokens with a tenant and scopes, hashed in a file.
    #[command(subcommand)]
    Token(tokens::Command),
    /// Messages that were rejected: look at them, drive them again.
    #[command(subcommand)]
    Rejects(client::Rejects),
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
            Command::Impact(impact) => impact.run(),
            Command::Env(env) => env.run(),
            Command::Export(export) => export.run(),
            Command::Verify(verify) => verify.run(),
            Command::Rebuild(rebuild) => rebuild.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Log(log) => log.run(),
            Command::Key(key) => key.run(),
            Command::Token(token) => token.run(),
            Command::Rejects(rejects) => rejects.run(),
            Command::Config(command) => command.run(),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "pedigraph", &mut std::io::stdout());
                Ok(())
            }
            Command::Version => {
                put(&format!("pedigraph {}", env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        }
    }
}

impl Client {
    /// A connection to the server.
    pub(crate) fn server(&self) -> Server {
        Server::new(&self.url, self.token.clone())
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
