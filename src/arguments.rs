//! Arguments that several commands share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pedigraph_ledger::LogId;
use pedigraph_processor::kafka::Accept;
use pedigraph_projector::store::StoreKind;
use pedigraph_query_api::Class;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::http::Uri;

use crate::client::Server;
use crate::moment;
use crate::output::{Exit, Failure, Format, say};

/// Where a client finds its server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Client {
    /// The server.
    #[arg(long, env = "PEDIGRAPH_URL", default_value = "http://127.0.0.1:8080", global = true, value_parser = url)]
    pub(crate) url: String,
    /// Bearer token, for a server that asks for one.
    #[arg(long, env = "PEDIGRAPH_TOKEN", hide_env_values = true, global = true, value_parser = token)]
    pub(crate) token: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
}

impl Client {
    /// A connection to the server.
    pub(crate) fn server(&self) -> Server {
        Server::new(&self.url, self.token.clone())
    }
}

/// An address of a server; spaces and line ends around it are no part of it.
fn url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let parsed = text.parse::<Uri>().ok();
    let is_whole = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    match parsed.is_some_and(|uri| is_whole(&uri)) {
        true => Ok(text.to_owned()),
        false => Err("write the whole address, such as http://127.0.0.1:8080 or https://pedigraph.example".to_owned()),
    }
}

/// An address to listen on: no name is looked up, but for the one that is always the same.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let by_name = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let hint = || "write an address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address".to_owned();
    by_name.as_deref().unwrap_or(text).parse().map_err(|_| hint())
}

/// A token as it was read from a file, with its line end. It is not refused here: what is refused is printed.
#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
fn token(text: &str) -> Result<String, Infallible> {
    Ok(text.trim().to_owned())
}

/// Both clocks, for every question.
#[derive(Args, Clone, Debug)]
pub(crate) struct Clocks {
    /// As it was at this time: RFC 3339, or how long ago (90s, 30m, 2h, 7d, 4w).
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<String>,
    /// As it was known then: RFC 3339, how long ago, or a ledger index.
    #[arg(long, value_name = "TIME|INDEX", value_parser = moment::parse_or_index)]
    as_of: Option<String>,
}

/// How much of a list is wanted.
#[derive(Args, Clone, Debug)]
pub(crate) struct Limit {
    /// Rows of a list; 0: all of them.
    #[arg(long, value_name = "ROWS", default_value_t = 100, conflicts_with = "all")]
    limit: usize,
    /// All rows, however many.
    #[arg(long)]
    all: bool,
}

impl Limit {
    /// `None`: all.
    pub(crate) fn rows(&self) -> Option<usize> {
        (!self.all && self.limit > 0).then_some(self.limit)
    }

    /// Says on stderr that a list was cut, and how to see the rest.
    pub(crate) fn say_if_cut(&self, body: &Value) {
        if body.get("nextPageToken").is_some() {
            say(&format!("more: only {} rows are shown; --limit ROWS shows more, --all everything", self.limit));
        }
    }
}

/// A data directory, by position or as an option.
#[derive(Args, Clone, Debug)]
pub(crate) struct DataDirectory {
    /// Data directory [env: PEDIGRAPH_DATA] [default: pedigraph-data].
    #[arg(value_name = "DIR", conflicts_with = "data")]
    dir: Option<PathBuf>,
    /// The same, as an option.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataDirectory {
    /// What was named, else the environment's, else the default.
    pub(crate) fn path(&self) -> PathBuf {
        // Not clap's: a directory that is named in one way must not be in conflict with the environment.
        let environment = || std::env::var_os("PEDIGRAPH_DATA").map(PathBuf::from);
        let named = self.dir.clone().or_else(|| self.data.clone()).or_else(environment);
        named.unwrap_or_else(|| PathBuf::from("pedigraph-data"))
    }
}

impl Clocks {
    /// The moment of what happened.
    pub(crate) fn at(&self) -> Option<&str> {
        self.at.as_deref()
    }

    /// The moment of what was known.
    pub(crate) fn as_of(&self) -> Option<&str> {
        self.as_of.as_deref()
    }

    pub(crate) fn query(&self) -> [(&'static str, Option<&str>); 2] {
        [("at", self.at.as_deref()), ("asOf", self.as_of.as_deref())]
    }
}

/// A log: in a data directory, or a server's.
#[derive(Args, Debug)]
pub(crate) struct LogLocation {
    /// Use this data directory instead of asking a server.
    #[arg(long, env = "PEDIGRAPH_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The tenant whose log it is.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// The server.
    #[arg(long, env = "PEDIGRAPH_URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
    pub(crate) url: String,
    /// Bearer token, for a server that asks for one.
    #[arg(long, env = "PEDIGRAPH_TOKEN", hide_env_values = true, value_parser = token)]
    token: Option<String>,
}

impl LogLocation {
    pub(crate) fn server(&self) -> Server {
        Server::new(&self.url, self.token.clone())
    }
}

pub(crate) fn log_id(tenant: &str) -> anyhow::Result<LogId> {
    LogId::new(tenant).ok_or_else(|| no_tenant(tenant))
}

pub(crate) fn no_tenant(name: &str) -> anyhow::Error {
    Failure::error(Exit::Usage, format!("{name:?} is not a tenant: [a-z0-9-]{{1,63}}"))
}

/// What a server process needs. A flag wins over its environment variable, that over the file, that over the default.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Serve {
    /// Directory of the ledger and the views; created if absent [default: pedigraph-data].
    #[arg(long, env = "PEDIGRAPH_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Address of API and pages; port 0 picks one [default: 127.0.0.1:8080].
    #[arg(long, env = "PEDIGRAPH_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of a listener of its own for /livez, /readyz and /metrics, which no client can fill [default: none].
    #[arg(long, env = "PEDIGRAPH_PROBE_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) probe_listen: Option<SocketAddr>,
    /// File of static tokens (`pedigraph token new` makes it): every request needs one, and any address may be listened
    /// on; none: loopback only, and every local request has all scopes.
    #[arg(long, env = "PEDIGRAPH_TOKENS", value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// Requests a second by class, of each tenant, such as graph=100,export=1; 0: no limit. Classes: open, graph, intake,
    /// uploads, export, packs, streams, waiters. Without tokens there are none unless they are given.
    #[arg(long, env = "PEDIGRAPH_RATES", value_delimiter = ',', value_parser = class_rate, value_name = "CLASS=N")]
    pub(crate) rates: Vec<(Class, u32)>,
    /// Fields, comma-separated, whose values are overwritten with * before anything is kept: names of members,
    /// attributes and headers such as password, or the end of the way to a member such as customData.deploy.token.
    #[arg(long, env = "PEDIGRAPH_REDACT_FIELDS", value_delimiter = ',', value_name = "FIELD")]
    pub(crate) redact_fields: Option<Vec<String>>,
    /// Kafka bootstrap servers, host:port, comma-separated; none: no Kafka.
    #[arg(long, env = "PEDIGRAPH_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Topics, comma-separated [default: pedigraph.ci,pedigraph.cd,pedigraph.scanner,pedigraph.runtime].
    #[arg(long, env = "PEDIGRAPH_TOPICS", value_delimiter = ',')]
    pub(crate) topics: Option<Vec<String>>,
    /// Partitions, comma-separated, that are read on although what follows on their position is gone: the gap is
    /// recorded as an entry, and everything that there is is read. Give it for one start.
    #[arg(long, env = "PEDIGRAPH_ACCEPT_GAP", value_name = "TOPIC[/PARTITION]", value_delimiter = ',')]
    pub(crate) accept_gap: Vec<Accept>,
    /// Consumer group [default: pedigraph].
    #[arg(long, env = "PEDIGRAPH_GROUP")]
    pub(crate) group: Option<String>,
    /// Milliseconds between the view roots that `up` records in the ledger; 0: none [default: 60000].
    #[arg(long, env = "PEDIGRAPH_VIEW_ROOT_INTERVAL_MS")]
    pub(crate) view_root_interval_ms: Option<u64>,
    /// What keeps the views on disk: sled, or fjall for large ones. Views that the other one keeps are folded anew
    /// [default: sled].
    #[arg(long, env = "PEDIGRAPH_VIEWS_STORE", value_name = "STORE")]
    pub(crate) views_store: Option<StoreKind>,
    /// C2SP tlog-policy file: its witnesses are asked to cosign every checkpoint; none: checkpoints carry the ledger's
    /// signature alone.
    #[arg(long, env = "PEDIGRAPH_WITNESS_POLICY")]
    pub(crate) witness_policy: Option<PathBuf>,
    /// What becomes of a checkpoint that the policy's quorum has not cosigned [default: publish].
    #[arg(long, env = "PEDIGRAPH_WITNESS_MODE", value_enum)]
    pub(crate) witness_mode: Option<WitnessMode>,
    /// Milliseconds that one answer of a witness may take [default: 2000].
    #[arg(long, env = "PEDIGRAPH_WITNESS_TIMEOUT_MS")]
    pub(crate) witness_timeout_ms: Option<u64>,
    /// TOML file with these and further settings (docs/configuration.md has all).
    #[arg(long, env = "PEDIGRAPH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// `CLASS=N`.
pub(crate) fn class_rate(text: &str) -> Result<(Class, u32), String> {
    let advice = || "must be like graph=100, with a class and a number of requests a second".to_owned();
    let (class, rate) = text.split_once('=').ok_or_else(advice)?;
    Ok((Class::limited(class).ok_or_else(advice)?, rate.parse().map_err(|_| advice())?))
}

/// What becomes of a checkpoint without a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WitnessMode {
    /// It is published and marked; what is missing is asked for again and added.
    Publish,
    /// It is not published before the quorum is there.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_whole_and_what_is_around_it_or_a_token_is_no_part_of_it() {
        for wrong in ["", " ", "127.0.0.1:8080", "localhost", "localhost:8080", "ftp://127.0.0.1", "http://"] {
            assert!(url(wrong).is_err_and(|said| said.contains("http://127.0.0.1:8080")), "{wrong:?}");
        }
        assert_eq!(url(" https://pedigraph.example/base\n").as_deref(), Ok("https://pedigraph.example/base"));
        assert_eq!(token("abc\r\n").as_deref(), Ok("abc"));
    }

    #[test]
    fn an_address_to_listen_on_has_an_address_and_a_port() {
        assert_eq!(address("localhost:8080"), Ok(SocketAddr::from(([127, 0, 0, 1], 8080))));
        assert!(address("[::1]:0").is_ok_and(|address| address.is_ipv6()));
        for wrong in ["", "8080", ":8080", "localhost", "example.org:80", "http://127.0.0.1:8080"] {
            assert!(address(wrong).is_err_and(|said| said.contains("127.0.0.1:8080")), "{wrong:?}");
        }
    }
}
