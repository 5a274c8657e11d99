//! `syrinx serve`: voices, jobs and streams of speech over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::live::on_interrupt;
use super::speak::SourceArgs;
use crate::error::{Error, Result};
use crate::service::{Service, ServiceSettings};

/// Name of the variable with the token that must be shown.
const TOKEN: &str = "SYRINX_TOKEN";

/// Serves voices, jobs and streams of speech over HTTP.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen. Another address than this machine's own needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to listen to Wyoming clients, as 127.0.0.1:10200; an address of this machine
    #[arg(long, value_name = "ADDRESS")]
    wyoming: Option<SocketAddr>,
    /// Folder for all that is kept
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// File with the token that must be shown by who asks; without this, `SYRINX_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Do not add the voice that is part of the program to data that never had it
    #[arg(long)]
    no_default_voice: bool,
    /// Content encoder of voices that bring none: `hubert_base.pt` or a Hugging Face folder; without this, found in the
    /// models folder
    #[arg(long, value_name = "PATH")]
    encoder: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Memory for voices in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    voice_memory: u64,
    /// Longest upload in MiB, also unpacked
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    max_upload: u64,
    /// Most jobs that wait
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_queue: u64,
    /// Most streams of speech at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    max_streams: u16,
    /// Most live streams at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_live: u16,
    /// Seconds that a live stream may send nothing
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle: u64,
    /// Jobs that are done at once; each uses all of `--threads`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Requests a second from one address
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rate_limit: u32,
    /// Hours that results are kept
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    keep: f64,
    /// Seconds that requests have to end when the service stops
    #[arg(long, value_name = "S", default_value_t = 10)]
    grace: u64,
}

/// Serves until the program is asked to stop.
///
/// # Errors
/// Arguments out of range, an address that is taken or open without a token, data that is damaged or in use.
pub fn run(args: &ServeArgs) -> Result<()> {
    let interrupted = on_interrupt()?;
    if !(0.0..=24.0 * 3650.0).contains(&args.limits.keep) {
        return Err(Error::argument("--keep", "0 to 87600 hours", args.limits.keep));
    }
    let settings = ServiceSettings {
        listen: args.listen,
        wyoming: args.wyoming,
        data: args.data.clone(),
        token: token(args)?,
        rate_limit: args.limits.rate_limit,
        source: args.source.choice().open()?,
        encoder: args.encoder.clone(),
        default_voice: !args.no_default_voice,
        voice_budget_bytes: args.limits.voice_memory << 20,
        most_upload_bytes: args.limits.max_upload << 20,
        most_waiting: args.limits.max_queue,
        most_streams: args.limits.max_streams.into(),
        most_live: args.limits.max_live.into(),
        idle: Duration::from_secs(args.limits.idle),
        workers: args.limits.workers.into(),
        keep: Duration::from_secs_f64(3600.0 * args.limits.keep),
        grace: Duration::from_secs(args.limits.grace),
    };
    let service = Service::start(settings)?;
    super::print(&format!("listening on http://{}", service.address()))?;
    if let Some(address) = service.wyoming() {
        super::print(&format!("listening on tcp://{address} to Wyoming"))?;
    }
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    tracing::info!("stopping");
    service.stop();
    Ok(())
}

fn token(args: &ServeArgs) -> Result<Option<String>> {
    let text = match &args.token_file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?),
        None => std::env::var(TOKEN).ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}
