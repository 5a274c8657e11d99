//! `syrinx worker`: jobs that services on other machines queue.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::live::on_interrupt;
use super::speak::SourceArgs;
use crate::error::{Error, Result};
use crate::service::crew::{Crew, CrewSettings};
use crate::service::postgres::Address;
use crate::service::stores::{BlobPlace, Place};

/// Names of the variables with what may be secret, or is the same for all machines.
const QUEUE: &str = "SYRINX_QUEUE";
const BLOBS: &str = "SYRINX_BLOBS";

/// Does jobs that services on other machines queue; listens to no one.
#[derive(Args, Clone, Debug)]
pub struct WorkerArgs {
    #[command(flatten)]
    crew: CrewArgs,
}

/// What `serve` and `worker` have in common: how jobs are done, and where all of it is kept.
#[derive(Args, Clone, Debug)]
pub(super) struct CrewArgs {
    /// Folder for all that this machine keeps
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Do not add the voice that is part of the program to those that never had it
    #[arg(long)]
    no_default_voice: bool,
    /// Content encoder of voices that bring none: `hubert_base.pt` or a Hugging Face folder; without this, found in the
    /// models folder
    #[arg(long, value_name = "PATH")]
    encoder: Option<PathBuf>,
    /// Jobs that are done at once; each uses all of `--threads`. With `--queue`, `serve` may leave all to other machines: 0
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=64))]
    workers: u16,
    /// Memory for voices in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    voice_memory: u64,
    /// Voice, by id or name, that is loaded at the start and stays in memory; may be given several times
    #[arg(long, value_name = "VOICE")]
    pin: Vec<String>,
    /// Hours that results are kept
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    keep: f64,
    /// Seconds that work has to end when the program shall stop
    #[arg(long, value_name = "S", default_value_t = 10)]
    grace: u64,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    shared: SharedArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Several machines")]
struct SharedArgs {
    /// Database for jobs and names of voices: `postgres://USER@HOST/DATABASE`, the password in `PGPASSWORD`; without this,
    /// `SYRINX_QUEUE`, and without that, a file in `--data`
    #[arg(long, value_name = "URL")]
    queue: Option<String>,
    /// Place for results, uploads and voices' files: `s3://BUCKET/PREFIX`, as `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and
    /// their like tell, or `file:///FOLDER` of a file server; without this, `SYRINX_BLOBS`
    #[arg(long, value_name = "URL")]
    blobs: Option<String>,
}

impl SharedArgs {
    fn place(&self) -> Result<Place> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // What stands on the command line, all users of the machine can read.
        let queue = match (&self.queue, variable(QUEUE)) {
            (Some(queue), _) => Some(Address::read(queue, true)?),
            (None, Some(queue)) => Some(Address::read(&queue, false)?),
            (None, None) => None,
        };
        let blobs = self.blobs.clone().or_else(|| variable(BLOBS));
        match (queue, blobs.as_deref().map(BlobPlace::read).transpose()?) {
            (Some(queue), Some(blobs)) => Ok(Place::Shared { queue: Box::new(queue), blobs }),
            (None, None) => Ok(Place::Here),
            (Some(_), None) => Err(Error::argument("--blobs", "a place that all machines of --queue reach", "none")),
            (None, Some(_)) => Err(Error::argument("--queue", "a queue that all machines of --blobs reach", "none")),
        }
    }
}

impl CrewArgs {
    /// What these arguments mean.
    ///
    /// # Errors
    /// Arguments out of range or that do not fit.
    pub(super) fn settings(&self) -> Result<CrewSettings> {
        if !(0.0..=24.0 * 3650.0).contains(&self.keep) {
            return Err(Error::argument("--keep", "0 to 87600 hours", self.keep));
        }
        let place = self.shared.place()?;
        if self.workers == 0 && matches!(place, Place::Here) {
            return Err(Error::argument("--workers", "at least 1, or --queue with workers on other machines", 0));
        }
        Ok(CrewSettings {
            data: self.data.clone(),
            place,
            source: self.source.choice().open()?,
            encoder: self.encoder.clone(),
            default_voice: !self.no_default_voice,
            voice_budget_bytes: self.voice_memory << 20,
            pinned: self.pin.clone(),
            workers: self.workers.into(),
            keep: Duration::from_secs_f64(3600.0 * self.keep),
            grace: Duration::from_secs(self.grace),
        })
    }
}

/// Does jobs until the program is asked to stop.
///
/// # Errors
/// Arguments out of range, no queue, data that is in use, servers that cannot be reached.
pub fn run(args: &WorkerArgs) -> Result<()> {
    let interrupted = on_interrupt()?;
    let settings = args.crew.settings()?;
    let Place::Shared { queue, .. } = &settings.place else {
        return Err(Error::argument("--queue", "the database of the service whose jobs are to be done", "none"));
    };
    if settings.workers == 0 {
        return Err(Error::argument("--workers", "at least 1", 0));
    }
    let mut crew = Crew::assemble(&settings)?;
    crew.start()?;
    super::print(&format!("taking jobs from {queue}"))?;
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    tracing::info!("stopping");
    crew.end();
    Ok(())
}
