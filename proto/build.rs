//! Compiles the contract with protox, so that no protoc is needed.

use std::error::Error;

const EVENTS: [&str; 6] = [
    "pedigraph/event/v1/source.proto",
    "pedigraph/event/v1/work.proto",
    "pedigraph/event/v1/artifact.proto",
    "pedigraph/event/v1/evidence.proto",
    "pedigraph/event/v1/deploy.proto",
    "pedigraph/event/v1/control.proto",
];
const LEDGER: [&str; 2] = ["pedigraph/ledger/v1/entry.proto", "pedigraph/ledger/v1/facts.proto"];

/// Enum fields of events and the module that writes them as lower_snake in JSON.
const ENUM_FIELDS: [(&str, &str); 12] = [
    ("RunFinished.outcome", "outcome"),
    ("StepFinished.outcome", "outcome"),
    ("TestsFinished.outcome", "outcome"),
    ("ArtifactPackaged.kind", "artifact_kind"),
    ("ArtifactPublished.kind", "artifact_kind"),
    ("SbomAttached.kind", "artifact_kind"),
    ("ScanCompleted.kind", "artifact_kind"),
    ("ArtifactPublished.digest_kind", "digest_kind"),
    ("ImageObserved.digest_kind", "digest_kind"),
    ("AttestationAttached.verification", "verification"),
    ("VexIssued.verification", "verification"),
    ("VexStatement.status", "vex_status"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.message_attribute(
        ".pedigraph.event.v1",
        "#[derive(serde::Serialize, serde::Deserialize)] #[serde(rename_all = \"camelCase\", default)]",
    );
    for (field, module) in ENUM_FIELDS {
        let with = format!("#[serde(with = \"crate::json::{module}\")]");
        config.field_attribute(format!(".pedigraph.event.v1.{field}"), with);
    }
    config
        .field_attribute(".pedigraph.event.v1.ServiceDeployed.strategy", "#[serde(with = \"crate::json::strategy\")]");
    config.compile_fds(protox::compile(EVENTS, ["."])?)?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]).extern_path(".pedigraph.event.v1", "crate::event");
    config.compile_fds(protox::compile(LEDGER, ["."])?)?;
    println!("cargo::rerun-if-changed=pedigraph");
    Ok(())
}
