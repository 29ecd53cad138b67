//! Who signs in the ledger's name, as configured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pedigraph_ledger::{CommandSigner, SecretKey, Signer};

use crate::config::Config;
use crate::output::{Exit, Failure};

/// Environment variable with the secret key.
pub(crate) const VARIABLE: &str = "PEDIGRAPH_LEDGER_KEY";

/// The signer that the environment or the configuration names; `None`: the key is in the ledger's file.
pub(crate) fn configured(config: &Config) -> anyhow::Result<Option<Arc<dyn Signer>>> {
    let secret = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    match (secret, config.signer_command.as_slice()) {
        (None, []) => Ok(None),
        (Some(secret), []) => {
            let wrong = || {
                let text =
                    format!("{VARIABLE} is neither a seed of 64 hex digits nor a key as Go's note package writes it");
                Failure::error(Exit::Usage, text)
            };
            Ok(Some(Arc::new(SecretKey::parse(&secret).ok_or_else(wrong)?)))
        }
        (None, command) => {
            let signer = CommandSigner::start(command, Duration::from_millis(config.signer_timeout_ms));
            Ok(Some(Arc::new(signer.context("the configured signer does not say which key it has")?)))
        }
        (Some(_), _) => {
            Err(Failure::error(Exit::Usage, format!("both {VARIABLE} and signer-command are set; name one signer")))
        }
    }
}
