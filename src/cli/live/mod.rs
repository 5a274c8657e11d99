//! `syrinx live`: a microphone, a JACK port or a recording in, the voice out, block after block.
//!
//! One loop on the control thread takes commands from keys, OSC and MIDI, hands them to the session, and tells how it
//! goes: on the terminal, in lines, and as metrics.

pub mod args;
pub mod lines;
pub mod metrics;
pub mod midi;
pub mod moment;
pub mod osc;
pub mod remote;
#[cfg(feature = "tui")]
pub mod screen;
pub mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ColorChoice;

pub use args::{LiveArgs, Manner};
use lines::Sample;
use metrics::MetricsServer;
use moment::{Commands, Moment};
use remote::{Order, Remote};
#[cfg(feature = "tui")]
use screen::Screen;

use crate::cli::conversion::ModelChoice;
#[cfg(feature = "cuda-kernels")]
use crate::cuda::trace::Graphs;
use crate::error::{Error, Result};
use crate::io::live::{DeviceState, MidiInbox};
use crate::io::read::read;
use crate::live::{Command, Control, OwnPitch, Session, SessionReport, SessionSettings, Setting};
use crate::nn::Cpu;
#[cfg(feature = "cuda")]
use crate::nn::Cuda;
use crate::nn::ops::VoiceOps;
use crate::path::Converter;
use crate::path::stream::Stream;
use crate::place::Place;

/// Longest time between two looks at a session.
const PACE: Duration = Duration::from_millis(10);

/// Runs until the audio ends, the time is up, or the program is asked to stop.
///
/// # Errors
/// Arguments out of range, models or devices that are not there, addresses that are taken, files that cannot be written.
pub fn run(args: &LiveArgs, color: ColorChoice) -> Result<()> {
    let settings = args.settings()?;
    args.times()?;
    args.check_files()?;
    let models = args.models()?;
    match models.place()? {
        Place::Cpu => run_on::<Cpu>(Default::default(), args, color, &models, settings),
        #[cfg(feature = "cuda")]
        Place::Burn(device) => run_on::<Cuda>(device, args, color, &models, settings),
        #[cfg(feature = "cuda-kernels")]
        Place::Cuda(device) => run_on::<Graphs>(device, args, color, &models, settings),
    }
}

fn run_on<B: VoiceOps>(
    device: B::Device,
    args: &LiveArgs,
    color: ColorChoice,
    models: &ModelChoice,
    mut settings: SessionSettings,
) -> Result<()>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    let (limit, interval) = args.times()?;
    let midi = MidiInbox::new();
    let backend = args.backend(&midi)?;
    let interrupted = on_interrupt()?;
    let remote = Remote::start(&args.remote, args.carries_midi(), midi)?;
    let metrics = args.remote.metrics.map(MetricsServer::start).transpose()?;
    let mut slots = slots::load::<B>(device, models, &args.slots, &mut settings)?;
    if let (true, Some(input)) = (args.fits_pitch(), args.input_file()) {
        // A recording need not be listened to before its pitch is known.
        let (recording, first) = (read(&input)?.recording, &mut slots[0]);
        let shift = first.converter.clone().own_transposition(&recording, &settings.params)?.unwrap_or_default();
        first.params.transpose_semitones = shift;
        settings.params.transpose_semitones = shift;
    }
    let control = Control::new(slots, &settings)?;
    let own_pitch = control.converter().pitch_hz().filter(|_| args.fits_pitch() && args.host() != "file");
    let own_pitch = own_pitch.map(|hz| OwnPitch::new(hz, settings.params.transpose_semitones));
    let session = Session::start(backend, control.converter(), &settings)?;
    let output = Output::start(args, interval, color, &session, &control)?;
    if let Some(address) = remote.osc_address() {
        tracing::info!("OSC is heard at {address}");
    }
    if let Some(metrics) = &metrics {
        tracing::info!("metrics are at http://{}/metrics", metrics.address());
    }
    Show { session, control, remote, metrics, output, own_pitch, commands: Commands::default(), interrupted, limit }
        .run()
}

/// A session with everything around it.
struct Show<B: VoiceOps>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    session: Session<B>,
    control: Control<B>,
    remote: Remote,
    metrics: Option<MetricsServer>,
    output: Output,
    /// Present while the pitch shift is sought.
    own_pitch: Option<OwnPitch>,
    commands: Commands,
    interrupted: Arc<AtomicBool>,
    limit: Option<Duration>,
}

impl<B: VoiceOps> Show<B>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    fn run(mut self) -> Result<()> {
        let started = Instant::now();
        let told = loop {
            let over = self.interrupted.load(Ordering::Relaxed)
                || self.limit.is_some_and(|limit| started.elapsed() >= limit)
                || self.session.device().telemetry().state == DeviceState::Ended;
            match self.look(over) {
                Ok(wish) if over || wish == Wish::End => break Ok(()),
                Ok(_) => {}
                // Without an audience there is still a recording to be completed.
                Err(error) => break Err(error),
            }
        };
        let Self { session, output, .. } = self;
        drop(output);
        finish(session.stop()).and(told)
    }

    /// Takes what has come, and tells how it goes.
    fn look(&mut self, last: bool) -> Result<Wish> {
        for order in self.remote.wait(PACE) {
            self.follow(order);
        }
        let (orders, wish) = self.output.orders()?;
        for order in orders {
            self.follow(order);
        }
        self.control.hand_over(&mut self.session)?;
        while let Some(event) = self.session.next_event() {
            lines::tell_event(&event);
        }
        let moment = Moment::of(&mut self.session, &self.control, self.commands);
        let (slot, transpose_semitones) = (moment.state.slot, moment.state.params.transpose_semitones);
        self.own_pitch.take_if(|own| slot != 0 || own.is_over(transpose_semitones));
        if let Some(semitones) = self.own_pitch.as_mut().and_then(|own| own.hear(moment.heard())) {
            self.control.apply(Command::Set(Setting::Transpose, semitones), &mut self.session)?;
        }
        if let Some(metrics) = &self.metrics {
            metrics.publish(moment.metrics);
        }
        self.output.tell(moment, last)?;
        Ok(wish)
    }

    /// Does what is ordered. Only the first order that makes no sense is a warning: a sender may have many.
    fn follow(&mut self, order: Order) {
        let session = &mut self.session;
        let done = order.and_then(|command| {
            let slot = self.control.state().slot;
            self.control.apply(command, session).map_err(|error| error.to_string())?;
            let now = self.control.state().slot;
            if now != slot {
                tracing::info!("slot {}: {}", now + 1, self.control.slots()[now].name);
            }
            Ok(())
        });
        match done {
            Ok(()) => self.commands.done += 1,
            Err(problem) => {
                self.commands.refused += 1;
                if self.commands.refused == 1 {
                    tracing::warn!("ignored: {problem} (what else is ignored is counted, and told with -vv)");
                } else {
                    tracing::debug!("ignored: {problem}");
                }
            }
        }
    }
}

/// What the person at the terminal wants of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    GoOn,
    /// That it ends.
    End,
}

/// How a session tells what happens.
enum Output {
    Lines {
        as_json: bool,
        interval: Duration,
        /// When the next line is due.
        next: Instant,
    },
    #[cfg(feature = "tui")]
    Screen(Box<Screen>),
}

impl Output {
    #[cfg_attr(not(feature = "tui"), expect(unused_variables, reason = "a screen tells more"))]
    fn start<B: VoiceOps>(
        args: &LiveArgs,
        interval: Duration,
        color: ColorChoice,
        session: &Session<B>,
        control: &Control<B>,
    ) -> Result<Self>
    where
        Stream<B>: Send + 'static,
        Converter<B>: Send + 'static,
    {
        let manner = args.manner();
        #[cfg(feature = "tui")]
        if manner == Manner::Screen {
            return Screen::start(screen::About::of(args, session), color).map(|screen| Self::Screen(Box::new(screen)));
        }
        let as_json = manner == Manner::Json;
        if !as_json {
            lines::tell_start(session)?;
            lines::tell_slots(control)?;
        }
        Ok(Self::Lines { as_json, interval, next: Instant::now() + interval })
    }

    /// What the person at the terminal has ordered, and wants.
    fn orders(&mut self) -> Result<(Vec<Order>, Wish)> {
        match self {
            Self::Lines { .. } => Ok((Vec::new(), Wish::GoOn)),
            #[cfg(feature = "tui")]
            Self::Screen(screen) => screen.orders(),
        }
    }

    fn tell(&mut self, moment: Moment, last: bool) -> Result<()> {
        match self {
            Self::Lines { as_json, interval, next } => {
                let now = Instant::now();
                if last || now >= *next {
                    *next = now + *interval;
                    lines::tell(&Sample::of(&moment), *as_json)?;
                }
                Ok(())
            }
            #[cfg(feature = "tui")]
            Self::Screen(screen) => screen.tell(moment),
        }
    }
}

/// Says what became of the recording; the first problem is the error.
fn finish(report: SessionReport) -> Result<()> {
    let recording = report.recording.map(|recording| {
        let files: Vec<String> = recording.files.iter().map(|file| file.display().to_string()).collect();
        tracing::warn!("recorded {} frames, lost {}: {}", recording.frames, recording.lost_frames, files.join(", "));
        recording.failure.map_or(Ok(()), Err)
    });
    report.problem.map_or(Ok(()), Err)?;
    recording.unwrap_or(Ok(()))
}

/// A flag that an interrupt or a request to end sets, so that files are completed. The second ends the program at once.
pub(in crate::cli) fn on_interrupt() -> Result<Arc<AtomicBool>> {
    /// What shells report of a program that was interrupted.
    const INTERRUPTED: i32 = 130;
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handler = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    });
    handler.map_err(|error| Error::io("the interrupt signal", std::io::Error::other(error)))?;
    Ok(flag)
}
