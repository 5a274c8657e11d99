//! Sessions that go on: devices that change or go, files that vanish, disks that are full.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::error::{Error, Result};
use syrinx::geometry::Timing;
use syrinx::io::live::{Backend, DeviceEvent, DeviceFormat, Null, NullClock, OpenDevice};
use syrinx::live::{Cause, Session, SessionEvent, SessionSettings};
use syrinx::nn::Cpu;
use syrinx::params::{ConversionParams, LiveParams, NoiseChoice};
use syrinx::path::Converter;
use syrinx::rt::events::Event;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn voice_of(voice: PathBuf) -> Converter<Cpu> {
    let files = ModelFiles {
        voice,
        index: None,
        encoder: data("hubert_small_v1.weights.safetensors"),
        tracker: TrackerFile::Yin,
    };
    Engine::<Cpu>::new(Default::default()).converter(&files).expect("a voice")
}

fn voice() -> Converter<Cpu> {
    voice_of(data("synth_small_v1_32k.pth"))
}

fn settings() -> SessionSettings {
    SessionSettings {
        timing: Timing { chunk: 0.02, crossfade: 0.02, context: 0.2 },
        budget: Some(Duration::from_millis(20)),
        params: ConversionParams { noise: NoiseChoice::Zero, ..SessionSettings::default().params },
        ..SessionSettings::default()
    }
}

fn mono(rate_hz: u32, block_frames: usize) -> DeviceFormat {
    DeviceFormat {
        rate_hz,
        block_frames,
        max_block_frames: block_frames,
        inputs: 1,
        outputs: 1,
        input_latency_samples: 0,
        output_latency_samples: 0,
    }
}

/// Devices that are opened one after another.
struct Nulls(Vec<Null>);

impl Backend for Nulls {
    fn open(&mut self) -> Result<OpenDevice> {
        if self.0.is_empty() {
            return Err(Error::device("null", "is away", "wait"));
        }
        self.0.remove(0).open()
    }
}

/// A device without a clock of its own: the graph waits for the voice, so nothing depends on how fast the machine is.
fn null(format: DeviceFormat) -> (Null, NullClock) {
    let (device, mut clock) = Null::new(format);
    clock.set_freewheel(true);
    (device, clock)
}

/// Someone who speaks, and what is heard of it.
#[derive(Default)]
struct Speaker {
    said: usize,
    heard: Vec<f32>,
}

impl Speaker {
    /// Says `blocks` blocks. As much is heard, whatever happens.
    fn say(&mut self, clock: &mut NullClock, block: usize, blocks: usize) {
        for _ in 0..blocks {
            let wave = |n: usize| 0.3 * (n as f32 * 0.02).sin() * (n as f32 * 0.0003).cos();
            let captured: Vec<f32> = (self.said..self.said + block).map(wave).collect();
            let mut played = vec![f32::NAN; block];
            clock.block(&[&captured], &mut [&mut played]);
            assert!(played.iter().all(|x| x.is_finite()));
            self.said += block;
            self.heard.extend(played);
        }
    }

    /// The loudest of the last `samples` samples.
    fn peak(&self, samples: usize) -> f32 {
        self.heard[self.heard.len() - samples..].iter().fold(0.0, |most, x| most.max(x.abs()))
    }
}

fn events(session: &mut Session<Cpu>) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.next_event()).collect()
}

/// Reads events until the graph was built anew.
fn until_rebuilt(session: &mut Session<Cpu>) -> Cause {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(30), "it was not built anew");
        let rebuilt = |event| if let SessionEvent::Rebuilt { cause, .. } = event { Some(cause) } else { None };
        if let Some(cause) = events(session).into_iter().find_map(rebuilt) {
            return cause;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn for_another_block_the_graph_is_built_anew_at_the_delay_that_the_block_needs_and_no_frame_is_recorded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.wav");
    let (device, mut clock) = null(mono(48_000, 240));
    let settings = SessionSettings { record: Some(path.clone()), ..settings() };
    let mut session = Session::start(Box::new(device), voice(), &settings).unwrap();
    session.set_live(LiveParams { output_gain_db: -3.0, ..LiveParams::default() }).unwrap();
    let first = session.latency();
    assert_eq!(first.processing, 960 + 240);
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 240, 200);
    assert!(speaker.peak(4800) > 0.01);

    for (block, waits) in [(1024, 0), (64, 1)] {
        speaker.say(&mut clock, block, 10);
        assert_eq!(until_rebuilt(&mut session), Cause::OtherBlock { frames: block }, "{waits}");
        assert_eq!(session.latency().processing, 960 + block);
        assert_eq!(session.latency().algorithmic, first.algorithmic);
        // Far beyond its own latency and the fade.
        speaker.say(&mut clock, block, 24_000 / block);
        let telemetry = session.telemetry();
        assert_eq!(telemetry.graph.latency_samples, session.latency().total());
        assert_eq!((telemetry.link.starvation.times, telemetry.worker.failed), (0, 0), "{telemetry:?}");
        assert!(speaker.peak(4800) > 0.01);
    }
    assert_eq!(session.telemetry().graph.swaps, 2);
    let (said, heard) = (speaker.said, speaker.heard);
    assert_eq!(heard.len(), said);
    let recording = session.stop().recording.expect("a recording");
    assert!(recording.failure.is_none());
    assert_eq!((recording.frames as usize, recording.lost_frames), (said, 0));
    assert_eq!(recording.files, std::slice::from_ref(&path));
    // But for two cross-fades of 30 ms, the right channel is what was heard.
    let right: Vec<f32> =
        hound::WavReader::open(&path).unwrap().samples::<f32>().skip(1).step_by(2).map(Result::unwrap).collect();
    let other = right.iter().zip(&heard).filter(|(a, b)| a != b).count();
    assert!(other <= 2 * 1440, "{other} of {said}");
}

/// Says an impulse; returns how many samples later it is heard.
fn delay_of_an_impulse(clock: &mut NullClock) -> usize {
    let mut captured = vec![0.0; 48_000];
    captured[0] = 0.5;
    let mut played = vec![0.0; 48_000];
    for (captured, played) in captured.chunks(480).zip(played.chunks_mut(480)) {
        clock.block(&[captured], &mut [played]);
    }
    (0..48_000).max_by(|&a, &b| played[a].abs().total_cmp(&played[b].abs())).unwrap()
}

#[test]
fn a_total_delay_is_held_with_the_devices_own_and_follows_it_without_rattling() {
    const TOTAL: usize = 24_000;
    let format = DeviceFormat { input_latency_samples: 1000, output_latency_samples: 500, ..mono(48_000, 480) };
    let (device, mut clock) = null(format);
    // Dry, so that an impulse stays one; late by as much as the voice.
    let live = LiveParams { bypass: true, ..LiveParams::default() };
    let settings = SessionSettings { total_delay: Some(Duration::from_millis(500)), live, ..settings() };
    let mut session = Session::start(Box::new(device), voice(), &settings).unwrap();
    assert_eq!(session.latency().total(), TOTAL);
    assert_eq!(delay_of_an_impulse(&mut clock), TOTAL - 1500);

    let start = Instant::now();
    for wavering in (0..90).chain((10..90).rev()).cycle() {
        clock.set_latencies(1000 + wavering, 500);
        assert!(events(&mut session).iter().all(|event| !matches!(event, SessionEvent::Rebuilt { .. })));
        if start.elapsed() > Duration::from_millis(1500) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(delay_of_an_impulse(&mut clock), TOTAL - 1500);

    clock.set_latencies(1000, 2500);
    assert_eq!(until_rebuilt(&mut session), Cause::OtherLatency { samples: 3500 });
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 480, 200);
    assert_eq!((session.latency().total(), delay_of_an_impulse(&mut clock)), (TOTAL, TOTAL - 3500));
    assert_eq!(session.telemetry().graph.swaps, 1);

    let (device, _) = null(DeviceFormat { output_latency_samples: 23_000, ..format });
    let error = Session::start(Box::new(device), voice(), &settings).err().expect("too little").to_string();
    assert!(error.contains("with 24000 of the device") && error.ends_with("found 24000"), "{error}");
}

#[test]
fn what_is_clipped_is_counted_once_through_graphs_that_take_over() {
    let (device, mut clock) = null(mono(48_000, 480));
    let mut session = Session::start(Box::new(device), voice(), &settings()).unwrap();
    let mut said = 0;
    let mut say = |clock: &mut NullClock, block: usize, blocks: usize| {
        for _ in 0..blocks {
            let mut captured = vec![0.1; block];
            captured[7..10].fill(1.5);
            clock.block(&[&captured], &mut [&mut vec![0.0; block]]);
            said += 3;
        }
        said
    };
    say(&mut clock, 480, 50);
    for block in [256, 960, 64] {
        say(&mut clock, block, 10);
        assert_eq!(until_rebuilt(&mut session), Cause::OtherBlock { frames: block });
        // Within the swap, and far beyond it.
        for blocks in [3, 24_000 / block] {
            let said = say(&mut clock, block, blocks);
            assert_eq!(session.telemetry().input.clipped_samples, said, "{block}");
        }
    }
    drop(events(&mut session));
    assert_eq!(session.telemetry().input.clipped_samples, say(&mut clock, 64, 0));
}

#[test]
fn a_device_that_returns_at_another_rate_is_opened_anew_and_the_recording_goes_on_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.wav");
    let (first, mut clock) = null(mono(48_000, 480));
    let settings = SessionSettings { record: Some(path.clone()), ..settings() };
    let mut session = Session::start(Box::new(Nulls(vec![first])), voice(), &settings).unwrap();
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 480, 100);
    clock.lose("its server is gone");
    clock.change_rate(44_100);
    // It is away for now: that is told, and tried again later.
    let away = |event: &SessionEvent| matches!(event, SessionEvent::NotRebuilt { cause: Cause::OtherRate { rate_hz: 44_100 }, reason } if reason.contains("is away"));
    let (start, mut happened) = (Instant::now(), Vec::new());
    while !happened.iter().any(away) {
        assert!(start.elapsed() < Duration::from_secs(30), "{happened:?}");
        happened.extend(events(&mut session));
    }
    assert!(happened.contains(&SessionEvent::Device(DeviceEvent::OtherRate { rate_hz: 44_100 })), "{happened:?}");
    speaker.say(&mut clock, 480, 1);
    assert_eq!(speaker.peak(480), 0.0);
    drop(session);
    assert_eq!(hound::WavReader::open(&path).unwrap().duration(), 48_000);

    let (first, mut clock) = null(mono(48_000, 480));
    let (second, mut other_clock) = null(mono(44_100, 441));
    let mut session = Session::start(Box::new(Nulls(vec![first, second])), voice(), &settings).unwrap();
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 480, 100);
    clock.xrun();
    clock.change_rate(44_100);
    assert_eq!(until_rebuilt(&mut session), Cause::OtherRate { rate_hz: 44_100 });
    assert_eq!(session.device().format(), &mono(44_100, 441));
    speaker.say(&mut other_clock, 441, 100);
    assert!(speaker.peak(4410) > 0.01);
    let telemetry = session.telemetry();
    assert_eq!((telemetry.device.xruns, telemetry.device.frames), (1, 48_000 + 44_100));
    assert!(telemetry.worker.chunks >= 95, "{telemetry:?}");
    let recording = session.stop().recording.expect("a recording");
    assert_eq!((recording.frames, recording.lost_frames), (48_000 + 44_100, 0));
    let files: Vec<(u32, u32)> = recording
        .files
        .iter()
        .map(|file| hound::WavReader::open(file).unwrap())
        .map(|file| (file.spec().sample_rate, file.duration()))
        .collect();
    assert_eq!(files, [(48_000, 48_000), (44_100, 44_100)]);
}

#[test]
fn a_voice_file_that_is_deleted_while_live_changes_no_sample_and_a_graph_is_still_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("voice.pth");
    std::fs::copy(data("synth_small_v1_32k.pth"), &file).unwrap();
    let speak = |voice, delete: bool| {
        let (device, mut clock) = null(mono(48_000, 480));
        let session = Session::start(Box::new(device), voice, &settings()).unwrap();
        let mut speaker = Speaker::default();
        speaker.say(&mut clock, 480, 20);
        if delete {
            std::fs::remove_file(&file).unwrap();
        }
        speaker.say(&mut clock, 480, 100);
        (session, clock, speaker)
    };
    let (_, _, kept) = speak(voice(), false);
    let (mut session, mut clock, mut deleted) = speak(voice_of(file.clone()), true);
    assert!(kept.peak(4800) > 0.01 && kept.heard == deleted.heard);
    deleted.say(&mut clock, 960, 10);
    assert_eq!(until_rebuilt(&mut session), Cause::OtherBlock { frames: 960 });
    deleted.say(&mut clock, 960, 50);
    assert!(deleted.peak(4800) > 0.01);
    assert_eq!(session.telemetry().worker.failed, 0);
}

/// A back end whose second device comes when it is let in.
struct Slow {
    nulls: Nulls,
    opened: usize,
    admission: Receiver<()>,
}

impl Backend for Slow {
    fn open(&mut self) -> Result<OpenDevice> {
        self.opened += 1;
        if self.opened > 1 {
            self.admission.recv().map_err(|_| Error::device("null", "is away", "wait"))?;
        }
        self.nulls.open()
    }
}

#[test]
fn while_a_device_takes_long_to_open_commands_are_taken_and_telemetry_is_told() {
    let (first, mut clock) = null(mono(48_000, 480));
    let (second, mut other_clock) = null(mono(44_100, 441));
    let (admit, admission) = channel();
    let backend = Slow { nulls: Nulls(vec![first, second]), opened: 0, admission };
    let mut session = Session::start(Box::new(backend), voice(), &settings()).unwrap();
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 480, 100);
    clock.lose("its server is gone");
    clock.change_rate(44_100);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        let look = Instant::now();
        let seen = events(&mut session);
        assert!(!seen.iter().any(|event| matches!(event, SessionEvent::Rebuilt { .. })), "{seen:?}");
        session.set_live(LiveParams { mute: true, ..LiveParams::default() }).unwrap();
        assert_eq!(session.telemetry().device.frames, 48_000);
        assert!(look.elapsed() < Duration::from_millis(100), "{:?}", look.elapsed());
    }
    session.set_live(LiveParams::default()).unwrap();
    admit.send(()).unwrap();
    assert_eq!(until_rebuilt(&mut session), Cause::OtherRate { rate_hz: 44_100 });
    speaker.say(&mut other_clock, 441, 100);
    assert!(speaker.peak(4410) > 0.01);
    assert_eq!(session.telemetry().device.losses, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let (device, mut clock) = null(mono(48_000, 480));
    let settings = SessionSettings { record: Some("/dev/full".into()), ..settings() };
    let mut session = Session::start(Box::new(device), voice(), &settings).unwrap();
    let mut speaker = Speaker::default();
    let (start, mut failed) = (Instant::now(), false);
    while !failed {
        assert!(start.elapsed() < Duration::from_secs(30), "no one was told");
        speaker.say(&mut clock, 480, 50);
        failed = events(&mut session).contains(&SessionEvent::Live(Event::RecorderFailed));
    }
    speaker.say(&mut clock, 480, 50);
    assert!(speaker.peak(4800) > 0.01);
    assert_eq!(speaker.heard.len(), speaker.said);
    let report = session.stop();
    let recording = report.recording.expect("a report");
    assert!(report.problem.is_none() && recording.failure.is_some());
    assert_eq!((recording.frames, recording.lost_frames as usize), (0, speaker.said));
}

#[test]
fn a_device_that_goes_and_comes_back_is_told_and_the_voice_goes_on() {
    let (device, mut clock) = null(mono(48_000, 480));
    let mut session = Session::start(Box::new(device), voice(), &settings()).unwrap();
    let mut speaker = Speaker::default();
    speaker.say(&mut clock, 480, 100);
    clock.lose("unplugged");
    speaker.say(&mut clock, 480, 10);
    assert_eq!(speaker.peak(4800), 0.0);
    clock.regain();
    speaker.say(&mut clock, 480, 100);
    assert!(speaker.peak(4800) > 0.01);
    let happened = events(&mut session);
    assert!(happened.contains(&SessionEvent::Device(DeviceEvent::Lost { reason: "unplugged".into() })), "{happened:?}");
    assert!(!happened.iter().any(|event| matches!(event, SessionEvent::Rebuilt { .. })), "{happened:?}");
    assert_eq!(speaker.heard.len(), speaker.said);
    let telemetry = session.telemetry();
    assert_eq!((telemetry.device.losses, telemetry.device.returns, telemetry.graph.swaps), (1, 1, 0));
}
