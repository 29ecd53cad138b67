//! `pedigraph`: command line, configuration and wiring. What the system does lives in the crates beside.

mod arguments;
mod cli;
mod client;
mod commands;
mod config;
mod data_dir;
mod files;
mod heartbeat;
mod issuers;
mod listeners;
mod metrics;
mod moment;
mod node;
mod offline;
mod output;
mod signers;
mod telemetry;
mod view_roots;
mod witnesses;

use std::process::ExitCode;

use clap::Parser;

use crate::output::{Exit, say};

/// What one thread allocates another frees, all day: docs/decisions/009.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    match arguments.run().and_then(|()| output::all_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            Exit::of(&error).into()
        }
    }
}
