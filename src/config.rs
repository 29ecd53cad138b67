//! Configuration: flags, environment, file, defaults, in that order; unknown keys are errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use pedigraph_processor::Fields;
use pedigraph_processor::kafka::Accept;
use pedigraph_projector::store::StoreKind;
use pedigraph_query_api::{Limits, Rates};
use serde::{Deserialize, Serialize};

use crate::arguments::{Serve, WitnessMode};
use crate::issuers::Issuer;
use crate::output::{Exit, Failure};

/// Everything a server process is told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Directory of the ledger and the views.
    pub(crate) data: PathBuf,
    /// Address of API and pages.
    pub(crate) listen: SocketAddr,
    /// Address of a listener of its own for `/livez`, `/readyz` and `/metrics`, which no client can fill.
    pub(crate) probe_listen: Option<SocketAddr>,
    /// Origin prefix of a ledger that is created: `<name>/<tenant>`.
    pub(crate) name: Option<String>,
    /// Bytes of a journal segment of a ledger that is created.
    pub(crate) segment_bytes: u64,
    /// MiB of the disk that stay free: below it new events are refused. Without it 256, or two journal segments if that
    /// is more.
    pub(crate) reserve_mib: Option<u64>,
    /// Milliseconds between checkpoints.
    pub(crate) checkpoint_interval_ms: u64,
    /// Milliseconds between the view roots that a process with both roles records in the ledger; 0: none.
    pub(crate) view_root_interval_ms: u64,
    /// Program and arguments that sign checkpoints: message on stdin, 64-byte Ed25519 signature in base64 on stdout;
    /// with `--public-key` the public key in base64. Empty: the environment variable PEDIGRAPH_LEDGER_KEY, else the
    /// ledger's file `key`.
    pub(crate) signer_command: Vec<String>,
    /// Milliseconds that it may take.
    pub(crate) signer_timeout_ms: u64,
    /// C2SP tlog-policy file whose witnesses are asked to cosign every checkpoint before it is published.
    pub(crate) witness_policy: Option<PathBuf>,
    /// What becomes of a checkpoint that the policy's quorum has not cosigned.
    pub(crate) witness_mode: WitnessMode,
    /// Milliseconds that one answer of a witness may take.
    pub(crate) witness_timeout_ms: u64,
    /// MiB of memory for the store of the views, about.
    pub(crate) view_cache_mib: u64,
    /// Directory whose files are taken in as they are moved into it.
    pub(crate) drop_directory: Option<PathBuf>,
    /// File of static tokens (`pedigraph token`): who may ask what. Without it only loopback is served, and every local
    /// request has all scopes.
    pub(crate) tokens: Option<PathBuf>,
    /// Names besides loopback that requests may carry as their host, where there are no tokens: those of a proxy in
    /// front.
    pub(crate) hosts: Vec<String>,
    /// Entry bundles are served to everybody who reaches the server.
    pub(crate) public_ledger: bool,
    /// Requests a second by class, of each tenant (what needs no token: of each address), where they differ from the
    /// defaults; 0: no limit. Without tokens there are no other limits than these.
    pub(crate) rates: Rates,
    /// What is overwritten in messages before anything of them is kept.
    pub(crate) redact: Redact,
    /// Who issues VEX statements, and what these weigh. Without any, everybody weighs the same and may clear.
    pub(crate) issuers: Vec<Issuer>,
    /// How the views are kept.
    pub(crate) views: Views,
    /// What one question may cost, and how many are answered at once.
    pub(crate) reads: Reads,
    /// Kafka; without brokers there is none.
    pub(crate) kafka: Kafka,
}

/// What is overwritten in messages, besides known shapes of secrets.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Redact {
    /// Members of JSON documents, attributes and headers whose values are overwritten: names, or the names on the way
    /// joined by dots.
    pub(crate) fields: Vec<String>,
}

/// How the views are kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Views {
    /// `sled` or `fjall`; views that another store keeps are folded anew.
    pub(crate) store: StoreKind,
}

/// What one question may cost; one that costs more is answered `QUERY_TOO_EXPENSIVE`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Reads {
    /// Rows of the views that it may look at.
    pub(crate) rows_max: u64,
    /// Bytes of these rows.
    pub(crate) bytes_max: u64,
    /// Milliseconds that it may take.
    pub(crate) time_max_ms: u64,
    /// Questions that are read for at once, half of them one tenant's. Without it four for each core, at least eight.
    pub(crate) at_once_max: Option<usize>,
}

impl Default for Reads {
    fn default() -> Reads {
        let limits = Limits::default();
        let time_max_ms = u64::try_from(limits.read_time_max.as_millis()).unwrap_or(u64::MAX);
        Reads { rows_max: limits.read_rows_max, bytes_max: limits.read_bytes_max, time_max_ms, at_once_max: None }
    }
}

impl Reads {
    /// As limits of the server.
    pub(crate) fn limits(&self) -> Limits {
        let limits = Limits::default();
        Limits {
            read_rows_max: self.rows_max,
            read_bytes_max: self.bytes_max,
            read_time_max: Duration::from_millis(self.time_max_ms),
            reads_max: self.at_once_max.unwrap_or(limits.reads_max).max(1),
            ..limits
        }
    }
}

/// Where events come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Kafka {
    /// Bootstrap servers, host:port, comma-separated.
    pub(crate) brokers: String,
    /// Topics.
    pub(crate) topics: Vec<String>,
    /// Consumer group.
    pub(crate) group: String,
    /// librdkafka settings as they are, such as `security.protocol`; a name ending in `.file` is read from that file.
    pub(crate) options: BTreeMap<String, String>,
    /// Partitions whose gap is accepted: of one start, so never in a file.
    #[serde(skip)]
    pub(crate) accept_gaps: Vec<Accept>,
    /// Topics bound to a decoder, a tenant or a default subject.
    pub(crate) bindings: BTreeMap<String, Binding>,
}

/// What is known of a topic beforehand.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Binding {
    /// Decoder to use instead of detecting.
    pub(crate) format: Option<String>,
    /// Tenant of all that arrives here.
    pub(crate) tenant: Option<String>,
    /// Subject artifact where a message names none.
    pub(crate) subject: Option<String>,
}

/// Topics that are read unless others are named (SPEC §2.1).
pub(crate) const TOPICS: [&str; 4] = ["pedigraph.ci", "pedigraph.cd", "pedigraph.scanner", "pedigraph.runtime"];

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("pedigraph-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            probe_listen: None,
            name: None,
            segment_bytes: 64 << 20,
            reserve_mib: None,
            checkpoint_interval_ms: 1_000,
            view_root_interval_ms: 60_000,
            signer_command: Vec::new(),
            signer_timeout_ms: 5_000,
            witness_policy: None,
            witness_mode: WitnessMode::Publish,
            witness_timeout_ms: 2_000,
            view_cache_mib: 256,
            drop_directory: None,
            tokens: None,
            hosts: Vec::new(),
            rates: Rates::new(),
            public_ledger: false,
            redact: Redact::default(),
            issuers: Vec::new(),
            views: Views::default(),
            reads: Reads::default(),
            kafka: Kafka::default(),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: String::new(),
            topics: TOPICS.map(str::to_owned).to_vec(),
            group: "pedigraph".to_owned(),
            options: BTreeMap::new(),
            accept_gaps: Vec::new(),
            bindings: BTreeMap::new(),
        }
    }
}

impl Serve {
    /// Flags and environment over the file over the defaults.
    pub(crate) fn resolve(&self) -> anyhow::Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        config.probe_listen = self.probe_listen.or(config.probe_listen);
        if let Some(interval) = self.view_root_interval_ms {
            config.view_root_interval_ms = interval;
        }
        if let Some(fields) = &self.redact_fields {
            config.redact.fields.clone_from(fields);
        }
        if let Some(store) = self.views_store {
            config.views.store = store;
        }
        if let Some(policy) = &self.witness_policy {
            config.witness_policy = Some(policy.clone());
        }
        if let Some(mode) = self.witness_mode {
            config.witness_mode = mode;
        }
        if let Some(timeout) = self.witness_timeout_ms {
            config.witness_timeout_ms = timeout;
        }
        config.rates.extend(self.rates.iter().copied());
        if let Some(tokens) = &self.tokens {
            config.tokens = Some(tokens.clone());
        }
        if let Some(brokers) = &self.kafka {
            config.kafka.brokers.clone_from(brokers);
        }
        if let Some(topics) = &self.topics {
            config.kafka.topics.clone_from(topics);
        }
        if let Some(group) = &self.group {
            config.kafka.group.clone_from(group);
        }
        config.kafka.accept_gaps.clone_from(&self.accept_gap);
        Ok(config)
    }
}

impl Config {
    /// How the views are kept.
    pub(crate) fn view_options(&self) -> pedigraph_projector::Options {
        pedigraph_projector::Options { cache_bytes: self.view_cache_mib << 20, store: Some(self.views.store) }
    }

    /// What is overwritten in messages.
    pub(crate) fn redacted(&self) -> anyhow::Result<Fields> {
        let fields = Fields::new(self.redact.fields.iter().map(String::as_str));
        fields.map_err(|error| Failure::error(Exit::Usage, format!("redact.fields: {error}")))
    }

    /// Bytes of the disk that stay free.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        let default = pedigraph_processor::RESERVE_BYTES.max(self.segment_bytes.saturating_mul(2));
        self.reserve_mib.map_or(default, |mib| mib.saturating_mul(1 << 20))
    }

    /// Reads a TOML file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: Config =
            toml::from_str(&text).map_err(|e| Failure::error(Exit::Usage, format!("{}: {e}", path.display())))?;
        config.kafka.options = secrets_from_files(config.kafka.options)?;
        Ok(config)
    }
}

/// `sasl.password.file = "/run/secrets/kafka"` becomes `sasl.password`, so that no secret has to stand in the file.
fn secrets_from_files(options: BTreeMap<String, String>) -> anyhow::Result<BTreeMap<String, String>> {
    let resolve = |(name, value): (String, String)| match name.strip_suffix(".file") {
        None => Ok((name, value)),
        Some(real) => {
            let text = std::fs::read_to_string(&value).with_context(|| format!("cannot read {value} for {name}"))?;
            Ok((real.to_owned(), text.trim_end().to_owned()))
        }
    };
    options.into_iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use pedigraph_query_api::Class;

    use super::*;
    use crate::arguments::class_rate;

    #[test]
    fn what_a_question_may_cost_is_given_by_name() {
        let config: Config = toml::from_str("[reads]\nrows-max = 70_000\ntime-max-ms = 250\nat-once-max = 3").unwrap();
        let (limits, defaults) = (config.reads.limits(), Limits::default());
        assert_eq!((limits.read_rows_max, limits.read_time_max), (70_000, Duration::from_millis(250)));
        assert_eq!((limits.reads_max, limits.read_bytes_max), (3, defaults.read_bytes_max));
        assert!(toml::from_str::<Config>("[reads]\nrows = 5").is_err());
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(Config::default().reads.limits().reads_max, defaults.reads_max);
    }

    #[test]
    fn a_file_is_read_and_unknown_keys_are_errors() {
        let config: Config = toml::from_str("listen = \"127.0.0.1:0\"\n[kafka]\nbrokers = \"k:9092\"").unwrap();
        assert_eq!(config.kafka.topics.len(), 4);
        assert!(toml::from_str::<Config>("lissten = \"127.0.0.1:0\"").is_err());
    }

    #[test]
    fn every_setting_is_documented() {
        let documented = include_str!("../docs/configuration.md");
        let sections = ["", "[reads]", "[views]", "[redact]", "[kafka]", "[kafka.bindings.t]", "[[issuers]]"];
        for section in sections {
            let error = toml::from_str::<Config>(&format!("{section}\nx = 1")).unwrap_err().to_string();
            let names = error.rsplit("expected").next().unwrap_or_default();
            let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "{error}");
            for name in names {
                assert!(documented.contains(&format!("| `{name}` |")), "{name} of {section}");
            }
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "data = \"a\"\nlisten = \"127.0.0.1:1\"").unwrap();
        let serve = Serve { config: Some(path), data: Some("b".into()), ..Serve::default() };
        let config = serve.resolve().unwrap();
        assert_eq!((config.data, config.listen.port()), ("b".into(), 1));
    }

    #[test]
    fn the_store_of_the_views_is_named() {
        let config: Config = toml::from_str("view-cache-mib = 3\n[views]\nstore = \"fjall\"").unwrap();
        let options = config.view_options();
        assert_eq!((options.store, options.cache_bytes), (Some(StoreKind::Fjall), 3 << 20));
        assert_eq!(Config::default().view_options().store, Some(StoreKind::Sled));
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert!(toml::from_str::<Config>("[views]\nstore = \"redb\"").is_err());
        let serve = Serve { views_store: Some(StoreKind::Fjall), ..Serve::default() };
        assert_eq!(serve.resolve().unwrap().views.store, StoreKind::Fjall);
    }

    #[test]
    fn fields_to_overwrite_are_given_by_name() {
        let config: Config = toml::from_str("[redact]\nfields = [\"password\", \"build.token\"]").unwrap();
        assert_eq!(config.redact.fields, ["password", "build.token"]);
        assert!(config.redacted().is_ok());
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        let serve = Serve { redact_fields: Some(vec!["a..b".to_owned()]), ..Serve::default() };
        let error = serve.resolve().unwrap().redacted().unwrap_err().to_string();
        assert!(error.starts_with("redact.fields: \"a..b\""), "{error}");
    }

    #[test]
    fn rates_are_given_by_class() {
        let config: Config = toml::from_str("[rates]\ngraph = 5\npacks = 0").unwrap();
        assert_eq!(config.rates, Rates::from([(Class::Graph, 5), (Class::Packs, 0)]));
        assert!(toml::from_str::<Config>("[rates]\ngraphs = 5").is_err());
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        let serve = Serve { rates: vec![class_rate("graph=7").unwrap()], ..Serve::default() };
        assert_eq!(serve.resolve().unwrap().rates, Rates::from([(Class::Graph, 7)]));
        for bad in ["graph", "graph=", "graph=-1", "probes=1", "other=1"] {
            assert!(class_rate(bad).is_err(), "{bad}");
        }
    }
}
