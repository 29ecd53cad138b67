//! Who issuers of VEX statements are: what the configuration says of them is said in the ledger, so that everybody who
//! folds it comes to the same verdicts (SPEC §5).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_processor::Processor;
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{IssuerRole, PolicyPublished};
use serde::{Deserialize, Serialize};

use crate::files::replace;
use crate::output::{Exit, Failure};

/// What was said last, in the data directory. Without it all is said again, which changes no verdict.
const FILE: &str = "issuers";
/// Most issuers of a configuration.
const ISSUERS_MAX: usize = 1_000;

/// An issuer of VEX statements.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Issuer {
    /// As its documents name it.
    pub(crate) name: String,
    /// What it weighs.
    pub(crate) role: Role,
    /// Only what came from this CloudEvents source; absent: from any.
    pub(crate) source: Option<String>,
    /// Its documents are to be signed: what is not, weighs less.
    pub(crate) signs: bool,
    /// Whose verdicts it has a role in; absent: the tenant `default`.
    pub(crate) tenant: Option<String>,
}

/// Who an issuer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It makes the artifact: weight 1.0.
    Producer,
    /// It makes a part of it: weight 0.9.
    Supplier,
    /// Another one: weight 0.6, as for issuers without a role; but it may clear.
    #[default]
    Other,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Supplier => "supplier",
            Role::Other => "other",
        }
    }
}

/// Whether roles are understood.
pub(crate) fn check(issuers: &[Issuer]) -> anyhow::Result<()> {
    policies(issuers).map(drop)
}

/// Records the roles of each tenant where they are others than those that were recorded last.
pub(crate) fn publish(issuers: &[Issuer], data: &Path, processor: &Processor, reader: &Reader) -> anyhow::Result<()> {
    let path = data.join(FILE);
    let said = std::fs::read_to_string(&path).unwrap_or_default();
    let now = policies(issuers)?;
    let text = toml::to_string(&Said { issuer: issuers.to_vec() }).context("the roles of issuers")?;
    if said == text || (said.is_empty() && issuers.is_empty()) {
        return Ok(());
    }
    // Who had roles and has none any more is told so too.
    let before: Said = toml::from_str(&said).unwrap_or_default();
    let mut tenants: BTreeMap<TenantId, Vec<IssuerRole>> =
        policies(&before.issuer).unwrap_or_default().into_keys().map(|tenant| (tenant, vec![])).collect();
    tenants.extend(now);
    for (tenant, issuers) in tenants {
        let log = LogId::new(tenant.as_str()).context("a tenant that cannot name a log")?;
        let next_index = reader.head(&log).size;
        processor.record_blocking(&tenant, PolicyPublished { issuers, next_index })?;
    }
    replace(&path, text.as_bytes())
}

/// What was said, in a file.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Said {
    issuer: Vec<Issuer>,
}

fn policies(issuers: &[Issuer]) -> anyhow::Result<BTreeMap<TenantId, Vec<IssuerRole>>> {
    let usage = |text: String| Failure::error(Exit::Usage, text);
    if issuers.len() > ISSUERS_MAX {
        return Err(usage(format!("issuers: {} are named, at most {ISSUERS_MAX} may be", issuers.len())));
    }
    let mut policies: BTreeMap<TenantId, Vec<IssuerRole>> = BTreeMap::new();
    for issuer in issuers {
        if issuer.name.is_empty() {
            return Err(usage("issuers: one has no name; write it as its documents do".to_owned()));
        }
        let tenant = issuer.tenant.as_deref().map_or_else(|| Some(TenantId::default()), TenantId::new);
        let tenant = tenant.ok_or_else(|| usage(format!("issuer {}: a tenant is [a-z0-9-]{{1,63}}", issuer.name)))?;
        policies.entry(tenant).or_default().push(IssuerRole {
            issuer: issuer.name.clone(),
            role: issuer.role.word().to_owned(),
            source: issuer.source.clone().unwrap_or_default(),
            signs: issuer.signs,
        });
    }
    for roles in policies.values_mut() {
        roles.sort_by(|a, b| (&a.issuer, &a.source).cmp(&(&b.issuer, &b.source)));
    }
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_tenant_by_tenant() {
        let text = "[[issuer]]\nname = \"B\"\n[[issuer]]\nname = \"A\"\nrole = \"producer\"\nsigns = true\n\
                    [[issuer]]\nname = \"C\"\nrole = \"supplier\"\nsource = \"//ci\"\ntenant = \"blue\"";
        let said: Said = toml::from_str(text).unwrap();
        let policies = policies(&said.issuer).unwrap();
        let of = |tenant: &str| &policies[&TenantId::new(tenant).unwrap()];
        let named: Vec<_> = of("default").iter().map(|role| (role.issuer.as_str(), role.role.as_str())).collect();
        assert_eq!(named, [("A", "producer"), ("B", "other")]);
        assert_eq!((of("blue")[0].source.as_str(), of("blue")[0].signs), ("//ci", false));
        let again: Said = toml::from_str(&toml::to_string(&said).unwrap()).unwrap();
        assert_eq!(again.issuer, said.issuer);
    }

    #[test]
    fn what_names_nobody_is_refused() {
        let nameless = [Issuer::default()];
        assert!(super::policies(&nameless).unwrap_err().to_string().contains("has no name"));
        let foreign = [Issuer { name: "A".into(), tenant: Some("A B".into()), ..Issuer::default() }];
        assert!(super::policies(&foreign).unwrap_err().to_string().contains("issuer A: a tenant is"));
    }
}
