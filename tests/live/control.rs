//! Commands to a session that runs: settings, switches, and voices that are changed again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::io::live::{DeviceState, FileDevice, Pace};
use syrinx::io::read::read;
use syrinx::io::write::{Container, Encoding, Quantise, SampleFormat};
use syrinx::live::{Command, Control, LiveTelemetry, Session, SessionSettings, Setting, Slot, SlotParams, Switch};
use syrinx::nn::Cpu;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::stream::JoinKind;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn settings() -> SessionSettings {
    settings_of(JoinKind::default())
}

fn settings_of(join: JoinKind) -> SessionSettings {
    let mut settings = SessionSettings { join, ..SessionSettings::default() };
    settings.timing.chunk = 0.05;
    settings.timing.context = 0.3;
    settings.budget = Some(Duration::from_millis(50));
    // The same voice gives the same audio, whenever it takes over.
    settings.params.noise = NoiseChoice::Zero;
    settings
}

/// The small voice, and the same with an index or transposed.
fn slots() -> Vec<Slot<Cpu>> {
    let mut engine = Engine::<Cpu>::new(Default::default());
    let mut slot = |name: &str, index: Option<&str>, transpose_semitones| {
        let files = ModelFiles {
            voice: data("synth_small_v1_32k.pth"),
            index: index.map(data),
            encoder: data("hubert_small_v1.weights.safetensors"),
            tracker: TrackerFile::Yin,
        };
        let converter = engine.converter(&files).expect("a converter");
        Slot { name: name.into(), converter, params: SlotParams { transpose_semitones, ..SlotParams::default() } }
    };
    vec![
        slot("voice", None, 0.0),
        slot("the same", None, 0.0),
        slot("with an index", Some("added_IVF15_Flat_nprobe_1_small_v1.index"), 0.0),
        slot("higher", None, 12.0),
    ]
}

/// Plays speech as fast as it goes, and has `act` act on the session with the control until it ends.
fn play(
    settings: &SessionSettings,
    mut act: impl FnMut(&mut Control<Cpu>, &mut Session<Cpu>),
) -> (Vec<f32>, LiveTelemetry) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.wav");
    let backend = Box::new(FileDevice {
        input: data("audio/speech1.wav"),
        output: output.clone(),
        encoding: Encoding::new(Container::Wav, SampleFormat::Int(16), Quantise::Round).expect("an encoding"),
        rate_hz: None,
        block_frames: 256,
        pace: Pace::AsFastAsPossible,
    });
    let mut control = Control::new(slots(), settings).expect("a control");
    let mut session = Session::start(backend, control.converter(), settings).expect("a session");
    let began = Instant::now();
    while session.device().telemetry().state != DeviceState::Ended {
        act(&mut control, &mut session);
        control.hand_over(&mut session).expect("a state that holds");
        std::thread::sleep(Duration::from_millis(2));
        assert!(began.elapsed() < Duration::from_mins(2), "it does not end");
    }
    let telemetry = session.telemetry();
    assert!(session.stop().problem.is_none());
    (read(&output).expect("what was played").recording.samples, telemetry)
}

fn is_unbroken(telemetry: &LiveTelemetry) -> bool {
    let late = (telemetry.link.starvation.samples, telemetry.worker.shed, telemetry.worker.failed);
    late == (0, 0, 0) && telemetry.worker.chunks > 100
}

/// The voice alone; and the same voice that takes over from itself as often as the session does something.
fn alone_and_changed(join: JoinKind) -> (Vec<f32>, Vec<f32>) {
    let settings = settings_of(join);
    let (alone, telemetry) = play(&settings, |_, _| {});
    assert!(is_unbroken(&telemetry), "{telemetry:?}");
    let (mut changes, mut longest) = (0_u32, Duration::ZERO);
    let (changed, telemetry) = play(&settings, |control, session| {
        let began = Instant::now();
        control.apply(Command::Slot(2 - changes as usize % 2), session).expect("a slot");
        longest = longest.max(began.elapsed());
        changes += 1;
    });
    assert!(is_unbroken(&telemetry), "{telemetry:?}");
    println!("{changes} changes, the longest took {longest:?}");
    assert!(changes > 20 && longest < Duration::from_millis(50), "{changes} {longest:?}");
    assert_eq!(changed.len(), alone.len());
    (alone, changed)
}

#[test]
fn voices_change_again_and_again_without_a_sample_lost_or_altered() {
    let (alone, changed) = alone_and_changed(JoinKind::Sola);
    assert!(alone == changed, "a voice that is the same sounds different");

    let settings = settings_of(JoinKind::Sola);
    let (other, telemetry) = play(&settings, |control, session| {
        let slot = 1 + 2 * (telemetry_half(session) % 2);
        control.apply(Command::Slot(slot), session).expect("a slot");
    });
    assert!(is_unbroken(&telemetry), "{telemetry:?}");
    assert_eq!(other.len(), alone.len());
    assert!(other != alone, "the index is not heard");
}

/// A voice without a past makes its own from the window, where the one before had settled hops that it saw earlier:
/// what differs is far below the voice.
#[test]
fn seamless_voices_take_over_in_phase() {
    let (alone, changed) = alone_and_changed(JoinKind::Seamless);
    let energy = |samples: &mut dyn Iterator<Item = f32>| samples.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let difference = energy(&mut alone.iter().zip(&changed).map(|(a, b)| a - b));
    let below_db = 10.0 * (energy(&mut alone.iter().copied()) / difference).log10();
    println!("the difference lies {below_db:.1} dB below the voice");
    assert!(below_db > 10.0, "{below_db}");
}

/// Half seconds that the session has taken in.
fn telemetry_half(session: &mut Session<Cpu>) -> usize {
    (session.telemetry().worker.chunks / 10) as usize
}

#[test]
fn commands_change_what_the_session_is_told_and_refusals_change_nothing() {
    let mut done = false;
    play(&settings(), |control, session| {
        if std::mem::replace(&mut done, true) {
            return;
        }
        let mut apply = |command| control.apply(command, session).map(|()| *control.state());
        let state = apply(Command::Set(Setting::Transpose, -5.0)).expect("in range");
        assert_eq!(state.params.transpose_semitones, -5.0);
        assert_eq!(apply(Command::Step(Setting::Mix, -0.25)).expect("in range").live.mix, 0.75);
        assert_eq!(apply(Command::Step(Setting::Mix, 9.0)).expect("as far as it goes").live.mix, 1.0);
        assert!(apply(Command::Toggle(Switch::Bypass)).expect("a switch").live.bypass);
        assert!(!apply(Command::Switch(Switch::Bypass, false)).expect("a switch").live.bypass);

        let higher = apply(Command::Slot(4)).expect("a slot");
        assert_eq!((higher.slot, higher.params.transpose_semitones), (3, 12.0));
        assert_eq!(apply(Command::Step(Setting::Transpose, -1.0)).expect("in range").params.transpose_semitones, 11.0);
        assert_eq!(apply(Command::Slot(1)).expect("a slot").params.transpose_semitones, -5.0, "slots keep their own");
        let before = apply(Command::Slot(4)).expect("a slot");
        assert_eq!(before.params.transpose_semitones, 11.0);

        for refused in [
            Command::Set(Setting::Transpose, 49.0),
            Command::Set(Setting::Mix, f32::NAN),
            Command::Step(Setting::OutputGain, f32::NAN),
            Command::Slot(0),
            Command::Slot(5),
        ] {
            let error = apply(refused).expect_err("a refusal").to_string();
            assert!(error.contains("expected"), "{error}");
        }
        assert_eq!(*control.state(), before);
    });
}

#[test]
fn a_voice_is_clear_about_what_it_lacks_before_audio_runs() {
    let settings = SessionSettings { params: ConversionParams { speaker: 9999, ..settings().params }, ..settings() };
    let slots = slots();
    let error = syrinx::live::session::prepare(&slots[0].converter, &settings, 48_000).expect_err("no such speaker");
    assert!(error.to_string().contains("speaker"), "{error}");
    assert!(Control::<Cpu>::new(Vec::new(), &settings).is_err());
}
