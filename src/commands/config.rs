//! `pedigraph config …`

use clap::Subcommand;

use crate::arguments::Serve;
use crate::output::put;

/// `pedigraph config …`
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print the configuration that these flags, the environment and the file come to, as TOML.
    Show(Serve),
}

impl Command {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Command::Show(serve) = self;
        let mut config = serve.resolve()?;
        for (name, value) in &mut config.kafka.options {
            if ["password", "secret", "key", "token", "config"].iter().any(|word| name.contains(word)) {
                "***".clone_into(value);
            }
        }
        put(toml::to_string(&config)?.trim_end());
        Ok(())
    }
}
