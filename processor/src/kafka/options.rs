//! Settings of the client: what intake rests on, what may be overridden.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use rdkafka::ClientConfig;

use super::Config;
use crate::Error;

/// What intake depends on; not to be set from outside.
const RESERVED: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("group.protocol", "classic"),
    // Any other would go on behind a gap, and drop what a topic that was made anew has below the position.
    ("auto.offset.reset", "error"),
];
/// What may be overridden.
const DEFAULTS: [(&str, &str); 11] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("queued.max.messages.kbytes", "24576"),
    ("queued.min.messages", "10000"),
    ("fetch.queue.backoff.ms", "20"),
    // A message of 16 MiB and its headers must fit, so that it is recorded, if only as too large.
    ("fetch.message.max.bytes", "17825792"),
    ("statistics.interval.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("client.id", "pedigraph"),
];

pub(super) fn client_config(config: &Config, instance: &str) -> Result<ClientConfig, Error> {
    let mut client = ClientConfig::new();
    DEFAULTS.iter().for_each(|(name, value)| {
        client.set(*name, *value);
    });
    for (name, value) in &config.options {
        let reserved = RESERVED.iter().find(|(reserved, _)| reserved == name);
        if reserved.is_some_and(|(_, fixed)| fixed != value) {
            return Err(Error::Config(format!(
                "Kafka option {name} cannot be set: where to read from stands in the ledger. A partition whose position \
                 is gone is read on with --accept-gap TOPIC/PARTITION, which records the gap"
            )));
        }
        client.set(name, value);
    }
    RESERVED.iter().for_each(|(name, value)| {
        client.set(*name, *value);
    });
    client.set("bootstrap.servers", &config.brokers).set("group.id", &config.group);
    if !config.options.contains_key("group.instance.id") {
        client.set("group.instance.id", instance);
    }
    Ok(client)
}

/// The static member's name, kept beside the ledger, so that a restart is known to be the same member and waits for
/// nobody.
pub(crate) fn instance_id(dir: &Path) -> Result<String, Error> {
    let path = dir.join("kafka-instance-id");
    let stored = fs::read_to_string(&path).unwrap_or_default();
    if let Ok(id) = stored.trim().parse::<uuid::Uuid>() {
        return Ok(id.to_string());
    }
    let id = uuid::Uuid::new_v4().to_string();
    let unfinished = dir.join("kafka-instance-id.tmp");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_options_that_exactly_once_rests_on_cannot_be_set() {
        for (name, value) in [("enable.auto.commit", "true"), ("auto.offset.reset", "earliest")] {
            let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let refused = client_config(&Config { options, ..Config::default() }, "x").unwrap_err();
            assert!(refused.to_string().contains("--accept-gap TOPIC/PARTITION"), "{refused}");
        }
        let options = [("security.protocol", "plaintext"), ("auto.offset.reset", "error")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let client = client_config(&Config { options, ..Config::default() }, "x").unwrap();
        assert_eq!(client.get("security.protocol"), Some("plaintext"));
        assert_eq!(client.get("auto.offset.reset"), Some("error"));
    }
}
