//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use coordination::Role;

/// Keeps tables in step between MySQL and MariaDB servers, through Kafka, exactly once.
#[derive(Debug, Parser)]
#[command(name = "otter", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What applies to every verb.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What applies to every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration file; by default otter.toml in the working directory, if there is one
    #[arg(long, short = 'c', global = true, env = "OTTER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key of the configuration, such as kafka.brokers=db1:9092; wins over file and environment
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Work on ZooKeeper itself instead of asking the admin API
    #[arg(long, global = true)]
    pub(crate) direct: bool,
    /// How to print results
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How to print results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For people and programs.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run all roles in one process
    Run,
    /// Run the capture role: binlogs to Kafka
    Capture,
    /// Run the apply role: Kafka to targets
    Apply,
    /// Run the admin role: the HTTP API
    Admin {
        /// What else about it.
        #[command(subcommand)]
        verb: Option<AdminVerb>,
    },
    /// Create or change documents
    Put {
        /// YAML or JSON; - is the standard input
        #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print documents
    Get {
        /// source, target or pipeline
        kind: Option<String>,
        /// The document's name
        name: Option<String>,
    },
    /// Delete a document
    Delete {
        /// source, target or pipeline
        kind: String,
        /// The document's name
        name: String,
        /// Also drop positions and progress
        #[arg(long)]
        purge: bool,
    },
    /// Show positions, lag, rows and errors
    Status,
    /// Show where sources and pipelines stand, table by table, and what can be replayed
    Offsets {
        /// The pipeline's name; all without it
        name: Option<String>,
    },
    /// Set the position of a paused pipeline or table, back or forward
    Replay {
        /// pipeline
        kind: String,
        /// The document's name
        name: String,
        /// The source's table, schema.table; all of them without it
        #[arg(long)]
        table: Option<String>,
        /// Only this partition of its topic
        #[arg(long)]
        partition: Option<i32>,
        /// earliest, latest, offset=5, timestamp=2026-11-22T13:00:00Z or gtid=0-1-5
        #[arg(long)]
        to: String,
        /// Resume the pipeline and wait until the events up to its old position are written again
        #[arg(long)]
        wait: bool,
    },
    /// Set the position of a source, back or forward; everything read again is published again
    Reset {
        /// source
        kind: String,
        /// The document's name
        name: String,
        /// earliest, latest, timestamp=2026-11-22T13:00:00Z, gtid=0-1-5 or file=mariadb-bin.000003:4
        #[arg(long)]
        to: String,
    },
    /// Give the topic of a table more partitions; subscribers and targets are told where rows begin to lie elsewhere
    Repartition {
        /// The source's name
        source: String,
        /// The source's table, schema.table
        #[arg(long)]
        table: String,
        /// How many partitions it is to have, more than it has
        #[arg(long)]
        partitions: u32,
    },
    /// Let a source go on whose topic was deleted: the topic of that name, or a new one, takes its place
    Adopt {
        /// The source's name
        source: String,
        /// The source's table, schema.table
        #[arg(long)]
        table: String,
    },
    /// Let a pipeline, or one table of it, stand still; it keeps its progress
    Pause {
        /// pipeline
        kind: String,
        /// The document's name
        name: String,
        /// Only this one: schema.table, or the pattern, as the mapping's `from` has it
        #[arg(long)]
        table: Option<String>,
    },
    /// Let a paused pipeline or table go on
    Resume {
        /// pipeline
        kind: String,
        /// The document's name
        name: String,
        /// Only this one: schema.table, or the pattern, as the mapping's `from` has it
        #[arg(long)]
        table: Option<String>,
    },
    /// Check documents against their servers: says what to fix
    Check {
        /// source, target or pipeline
        kind: Option<String>,
        /// The document's name
        name: Option<String>,
    },
    /// Tokens of the HTTP API
    Token {
        /// What about them.
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// Explain a code, such as OT1001
    Explain {
        /// The code
        code: String,
    },
    /// The configuration
    Config {
        /// What about it.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

/// What to do about the admin role, other than running it.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Make the first token, of the role admin, and print it; works on ZooKeeper itself
    Init {
        /// Make another one although there are tokens
        #[arg(long)]
        again: bool,
    },
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and print it, this once
    Create {
        /// Its name
        name: String,
        /// viewer, operator or admin
        #[arg(long, default_value = "viewer")]
        role: Role,
    },
    /// List the tokens, without their texts
    List,
    /// Revoke a token
    Revoke {
        /// Its id, or its name
        id: String,
    },
}

/// What to do about the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print what is in force, secrets left out
    Show,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
