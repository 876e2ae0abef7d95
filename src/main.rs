//! The `otter` binary: command line, configuration, wiring of the roles, signals. What it does is in the other crates.
//!
//! Exit codes: 0 fine, 1 failed (or found something wrong), 2 wrong usage. Errors are printed with code and remedy.

mod audit;
mod cli;
mod client;
mod commands;
mod config;
mod logs;
mod roles;
mod signals;
mod table;
mod tools;

use std::process::ExitCode;

use clap::Parser as _;
use schemas::{Code, Error, Result};

use crate::cli::{Cli, Verb};
use crate::config::Config;
use crate::roles::Roles;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}\n  remedy: {}", e.code().remedy());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    // Variables that are not UTF-8 cannot be configuration.
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let config = Config::load(cli.global.config.as_deref(), variables, &cli.global.settings)?;
    let roles = match cli.verb {
        Verb::Run => Some(Roles { capture: true, apply: true, admin: true }),
        Verb::Capture => Some(Roles { capture: true, apply: false, admin: false }),
        Verb::Apply => Some(Roles { capture: false, apply: true, admin: false }),
        Verb::Admin { verb: None } => Some(Roles { capture: false, apply: false, admin: true }),
        _ => None,
    };
    let mut log = config.log.clone();
    if roles.is_none() && log.filter == config::Log::default().filter {
        // Verbs that end say what matters themselves.
        "error".clone_into(&mut log.filter);
    }
    logs::start(&log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Code::RoleFailed, format!("the runtime cannot be started: {e}")).with_source(e))?;
    match roles {
        Some(roles) => runtime.block_on(roles::run(&config, roles)).map(|()| true),
        None => runtime.block_on(commands::run(&config, &cli.global, cli.verb)),
    }
}
