//! `slipway`: the command line and the wiring. One binary under many names: argv[0] tells whether it is the spawner of
//! sandboxes, a phase of a build, a bundled buildpack, or the program that a person starts.

mod admin;
mod backup;
mod build;
mod image;
mod rest;
mod stack;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "slipway",
    version,
    about = "git push, and a few seconds later the app is live"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine
    Up(Box<up::Args>),
    /// Build an app's folder into an image
    Build(Box<build::Args>),
    /// Write everything there is into one file, while it runs
    Backup(backup::Backup),
    /// Make a data folder of a backup
    Restore(backup::Restore),
    /// Work with images
    #[command(subcommand)]
    Image(image::Command),
    /// Run one phase of a Cloud Native Buildpacks lifecycle, with the flags of its specification
    #[command(disable_help_flag = true)]
    Lifecycle {
        /// analyzer, detector, restorer, builder, exporter, creator, rebaser or launcher
        phase: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let argv0 = std::env::args().next().unwrap_or_default();
    if argv0 == container::spawner::ARGV0 {
        container::spawner::main();
    }
    if let Some(status) = buildpacks::main_by_name(&argv0).or_else(|| builder::main_by_name(&argv0))
    {
        return status;
    }
    let result = match Args::parse().command {
        Command::Up(args) => up::run(*args),
        Command::Build(args) => build::run(*args),
        Command::Backup(args) => args.run(),
        Command::Restore(args) => args.run(),
        Command::Image(command) => command.run(),
        Command::Lifecycle { phase, args } => match builder::lifecycle_main(&phase, args) {
            Some(status) => return status,
            None => {
                Err(format!("there is no phase `{phase}`; see slipway lifecycle --help").into())
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(" !     {}", gitd::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
