//! The command line: arguments in, exit codes and messages out.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{ArgAction, ColorChoice, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};
use crate::memory;

pub mod bench;
pub mod conversion;
pub mod convert;
mod device;
pub mod devices;
pub mod doctor;
pub mod inspect;
pub mod jobs;
pub mod latency;
pub mod live;
pub mod log;
pub mod machine;
pub mod models;
pub mod plot;
pub mod progress;
pub mod report;
#[cfg(feature = "service")]
pub mod serve;
#[cfg(feature = "service")]
pub mod speak;
#[cfg(feature = "service")]
pub mod worker;

/// Exit code of a wrong command line, after BSD `sysexits`.
const USAGE: u8 = 64;

/// Converts voices with RVC models, offline and in real time.
#[derive(Parser, Debug)]
#[command(name = "syrinx", version, about, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Tell more: once what is done, twice everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Tell only errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Threads that compute; without this, one per physical core
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Colours in messages
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Convert recordings to another voice
    Convert(Box<convert::ConvertArgs>),
    /// Convert live audio
    Live(Box<live::LiveArgs>),
    /// Speak text in a voice
    #[cfg(feature = "service")]
    Speak(Box<speak::SpeakArgs>),
    /// Serve voices, jobs and speech over HTTP
    #[cfg(feature = "service")]
    Serve(Box<serve::ServeArgs>),
    /// Do jobs that services on other machines queue
    #[cfg(feature = "service")]
    Worker(Box<worker::WorkerArgs>),
    /// List audio devices
    Devices(devices::DevicesArgs),
    /// Tell what this machine has of what Syrinx can use, and what to do about the rest
    Doctor(doctor::DoctorArgs),
    /// Measure how late live audio is
    Latency(latency::LatencyArgs),
    /// Measure how fast this machine converts
    Bench(bench::BenchArgs),
    /// Tell what a model file is
    Inspect(inspect::InspectArgs),
    /// List the models that are there, and those that are missing
    Models(models::ModelsArgs),
}

/// Runs the command line of this process and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    memory::keep_freed();
    #[cfg(feature = "service")]
    if matches!(cli.command, Command::Serve(_) | Command::Worker(_)) {
        // Before there is any other thread.
        memory::keep_together();
    }
    start_log(cli);
    start_threads(cli.threads)?;
    match &cli.command {
        Command::Convert(args) => {
            let plan = convert::ConvertPlan::new(args)?;
            convert::run_with_engine(&plan, &progress::Progress::new(cli.quiet))
        }
        Command::Live(args) => live::run(args, cli.color),
        #[cfg(feature = "service")]
        Command::Speak(args) => speak::run(args),
        #[cfg(feature = "service")]
        Command::Serve(args) => serve::run(args),
        #[cfg(feature = "service")]
        Command::Worker(args) => worker::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Latency(args) => latency::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Models(args) => models::run(args),
    }
}

/// Messages of the library go to standard error; `SYRINX_LOG` overrides `-v` and `-q`.
fn start_log(cli: &Cli) {
    // A screen has room for more, and colours it itself.
    let has_screen = matches!(&cli.command, Command::Live(args) if args.manner() == live::Manner::Screen);
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) if !has_screen => "warn",
        (false, 0 | 1) => "syrinx=info,warn",
        (false, _) => "syrinx=trace,debug",
    };
    let filter = EnvFilter::try_from_env("SYRINX_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let color = match cli.color {
        ColorChoice::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    let color = color && !has_screen;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(color).with_writer(log::LogOutput);
    // A second call, in tests, keeps the first.
    let _ = log.without_time().with_target(false).try_init();
}

fn start_threads(threads: Option<u16>) -> Result<()> {
    let count = threads.map_or_else(machine::physical_cores, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(|index| format!("syrinx-{index}"));
    pool.build_global().map_err(|error| Error::argument("--threads", "a thread pool that can start", error))
}

/// Tells an error on standard error, with what to do about it where that is known.
pub fn print_error(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = match error {
        Error::NotFound { what, hint } => writeln!(stderr, "error: {what} not found\nhelp: {hint}"),
        Error::Argument { .. } => writeln!(stderr, "error: {error}\nhelp: `syrinx --help` tells what may be given"),
        _ => writeln!(stderr, "error: {error}"),
    };
}

/// Writes `text` and a line end to standard output; a reader that has gone is no error.
///
/// # Errors
/// [`Error::Io`] if standard output refuses for another reason.
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("standard output", error)),
        _ => Ok(()),
    }
}
