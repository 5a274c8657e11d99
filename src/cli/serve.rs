//! `syrinx serve`: voices, jobs and streams of speech over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::live::on_interrupt;
use super::worker::CrewArgs;
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
    /// File with the token that must be shown by who asks; without this, `SYRINX_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    crew: CrewArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
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
    /// Requests a second from one address
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rate_limit: u32,
}

/// Serves until the program is asked to stop.
///
/// # Errors
/// Arguments out of range, an address that is taken or open without a token, data that is damaged or in use, servers that
/// cannot be reached.
pub fn run(args: &ServeArgs) -> Result<()> {
    let interrupted = on_interrupt()?;
    let settings = ServiceSettings {
        listen: args.listen,
        wyoming: args.wyoming,
        token: token(args)?,
        rate_limit: args.limits.rate_limit,
        most_upload_bytes: args.limits.max_upload << 20,
        most_waiting: args.limits.max_queue,
        most_streams: args.limits.max_streams.into(),
        most_live: args.limits.max_live.into(),
        idle: Duration::from_secs(args.limits.idle),
        crew: args.crew.settings()?,
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
