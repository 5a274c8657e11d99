//! A voice between two clients: whole sessions through a real server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::live::{DeviceEvent, DeviceState, Jack};
use syrinx::live::{Cause, LiveTelemetry, Session, SessionEvent, SessionSettings, round_trip};
use syrinx::nn::Cpu;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::Converter;

use super::probe::{Listener, Player};
use super::{jackd, jackd_at, jackd_with_cable};
use crate::server::{apart, wait_until};

const LONG: Duration = Duration::from_mins(1);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The small untrained voice, which any machine converts in time.
pub fn small_voice() -> Converter<Cpu> {
    let files = ModelFiles {
        voice: data("synth_small_v1_32k.pth"),
        index: None,
        encoder: data("hubert_small_v1.weights.safetensors"),
        tracker: TrackerFile::Yin,
    };
    Engine::<Cpu>::new(Default::default()).converter(&files).expect("a voice")
}

/// Chunks of 100 ms, with as long to convert each: a machine that does other things is not late.
pub fn settings() -> SessionSettings {
    SessionSettings {
        timing: Timing { chunk: 0.1, crossfade: 0.04, context: 0.5 },
        budget: Some(Duration::from_millis(100)),
        params: ConversionParams { noise: NoiseChoice::Zero, ..SessionSettings::default().params },
        ..SessionSettings::default()
    }
}

/// Speech at 48 kHz.
pub fn speech() -> Vec<f32> {
    let recording = syrinx::io::read::read(&data("audio/speech1.wav")).expect("speech").recording;
    syrinx::dsp::rate::resample(&recording, 48_000).expect("speech").samples
}

/// A client between `player` and `listener`.
pub fn insert() -> Jack {
    Jack {
        client: "voice".into(),
        outputs: vec!["out".into()],
        capture: vec!["player:out".into()],
        play: vec!["listener:.*".into()],
        ..Jack::default()
    }
}

/// Nothing of ours was late, left out or lost.
pub fn assert_in_time(telemetry: &LiveTelemetry) {
    let LiveTelemetry { link, worker, graph, .. } = telemetry;
    assert_eq!((link.starvation.times, link.lost_samples), (0, 0), "{telemetry:?}");
    assert_eq!((worker.shed, worker.failed, graph.node_panics, graph.callback_panics), (0, 0, 0, 0), "{telemetry:?}");
}

fn events(session: &mut Session<Cpu>) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.next_event()).collect()
}

fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32).sqrt()
}

/// Speech through the voice: first without a clock, then in real time.
fn speaks(name: &str, server: &str, block: usize) {
    apart(name, &[("JACK_DEFAULT_SERVER", server)], || {
        let _server = jackd(block);
        let speech = speech();
        for freewheel in [true, false] {
            let mut session = Session::start(Box::new(insert()), small_voice(), &settings()).expect("a session");
            let player = Player::start(speech.clone());
            let listener = Listener::start(speech.len() + 60 * 48_000);
            wait_until("the voice is connected", LONG, || listener.is_connected());
            if freewheel {
                player.freewheel(true);
                wait_until("the device freewheels", LONG, || session.device().telemetry().freewheel);
            }
            let before = listener.count();
            player.go();
            let latency = session.latency().total();
            wait_until("all is heard", LONG, || listener.count() > before + speech.len() + latency + 4800);
            if freewheel {
                player.freewheel(false);
                wait_until("the clock is back", LONG, || !session.device().telemetry().freewheel);
            }
            let telemetry = session.telemetry();
            assert_in_time(&telemetry);
            assert!(telemetry.worker.chunks as usize > speech.len() / 4800, "{telemetry:?}");
            let (began_playing, (began_recording, recorded)) = (player.stop(), listener.stop());
            let start = began_playing.wrapping_sub(began_recording) as usize + latency;
            // Silence until the first word is due, then a voice as loud as the speech, as long as it lasts.
            let quiet = rms(&recorded[start.saturating_sub(24_000)..start - 4800]);
            let (said, heard) = (rms(&speech), rms(&recorded[start..start + speech.len()]));
            println!(
                "{block} frames, freewheel {freewheel}: {quiet} then {heard} for {said}; RTF p50 {:.2} p99 {:.2}, xruns {}, \
                 longest callback {:?}",
                telemetry.worker.rtf_of(telemetry.worker.total_ms.p50),
                telemetry.worker.rtf_of(telemetry.worker.total_ms.p99),
                telemetry.device.xruns,
                telemetry.graph.longest
            );
            assert!(quiet < 1e-4 && (0.3..3.0).contains(&(heard / said)), "{quiet} {heard} {said}");
            assert!(session.stop().problem.is_none());
        }
    });
}

#[test]
fn speech_is_converted_at_512_frames_without_anything_late() {
    speaks("jack::voice::speech_is_converted_at_512_frames_without_anything_late", "syrinx-voice-512", 512);
}

#[test]
fn speech_is_converted_at_1024_frames_without_anything_late() {
    speaks("jack::voice::speech_is_converted_at_1024_frames_without_anything_late", "syrinx-voice-1024", 1024);
}

#[test]
fn the_round_trip_through_the_server_is_the_one_that_is_reported() {
    apart(
        "jack::voice::the_round_trip_through_the_server_is_the_one_that_is_reported",
        &[("JACK_DEFAULT_SERVER", "syrinx-round")],
        || {
            let _server = jackd_with_cable(1024);
            let mut jack = Jack {
                client: "probe".into(),
                outputs: vec!["out".into()],
                capture: vec!["loopback:capture_1".into()],
                play: vec!["loopback:playback_1".into()],
                ..Jack::default()
            };
            let device = round_trip::device(&mut jack, &settings(), 5).expect("the cable");
            let graph = round_trip::graph(&mut jack, &settings(), 5).expect("the cable");
            println!("{device:?}\n{graph:?}");
            assert!(device.agreement > 0.999 && graph.agreement > 0.999);
            // The graph adds what it reports, to the sample; the server's own cable takes whole blocks.
            let added = graph.samples - device.samples;
            assert!((added - (graph.reported.algorithmic + graph.reported.processing) as f64).abs() < 0.05, "{added}");
            assert!((device.samples / 1024.0).fract().abs() < 1e-4, "{device:?}");
        },
    );
}

#[test]
fn a_session_goes_on_when_the_server_changes_its_block_and_comes_back_at_another_rate() {
    apart(
        "jack::voice::a_session_goes_on_when_the_server_changes_its_block_and_comes_back_at_another_rate",
        &[("JACK_DEFAULT_SERVER", "syrinx-other")],
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let record = folder.path().join("both.wav");
            let server = jackd(1024);
            let settings = SessionSettings { record: Some(record), ..settings() };
            let mut session = Session::start(Box::new(insert()), small_voice(), &settings).expect("a session");
            let began = Instant::now();
            let before = session.latency().processing;
            let player = Player::start_over_and_over(speech());
            player.go();
            let mut seen = Vec::new();
            let mut wait_for_cause = |session: &mut Session<Cpu>, wanted: Cause| {
                wait_until(&format!("{wanted}"), LONG, || {
                    seen.extend(events(session));
                    seen.iter().any(|event| matches!(event, SessionEvent::Rebuilt { cause, .. } if *cause == wanted))
                });
            };
            player.set_block(512);
            wait_for_cause(&mut session, Cause::OtherBlock { frames: 512 });
            assert_eq!(session.latency().processing, before - 512);
            let heard = |session: &mut Session<Cpu>| session.telemetry().output.peak > 0.01;
            wait_until("the voice is heard", LONG, || heard(&mut session));

            drop(player);
            server.kill();
            assert!(session.device().wait_for(DeviceState::Lost, LONG));
            // The graph goes on meanwhile; and a library that opens a client now would free ours.
            wait_until("silence in its place", LONG, || session.telemetry().device.standby_frames > 24_000);
            let _server = jackd_at(44_100, 512);
            wait_for_cause(&mut session, Cause::OtherRate { rate_hz: 44_100 });
            assert_eq!(session.device().format().rate_hz, 44_100);
            // The one that found the other rate has left its name to this.
            let ports = Command::new("jack_lsp").args(["-s", "syrinx-other", "voice"]).output().expect("jack_lsp");
            let ports = String::from_utf8_lossy(&ports.stdout).into_owned();
            assert_eq!(ports.lines().collect::<Vec<_>>(), ["voice:in", "voice:out"]);
            let player = Player::start_over_and_over(speech());
            player.go();
            wait_until("the voice is heard again", LONG, || heard(&mut session));
            let telemetry = session.telemetry();
            assert_eq!((telemetry.device.losses, telemetry.graph.node_panics), (1, 0));
            let told = |event: &SessionEvent| {
                matches!(event, SessionEvent::Device(DeviceEvent::OtherRate { rate_hz: 44_100 }))
            };
            assert!(seen.iter().any(told), "{seen:?}");
            let recording = session.stop().recording.expect("a recording");
            let lasted = began.elapsed().as_secs_f64();
            assert!(recording.failure.is_none() && recording.lost_frames == 0, "{recording:?}");
            let files: Vec<(u32, u32)> = recording
                .files
                .iter()
                .map(|file| hound::WavReader::open(file).expect("a file"))
                .map(|file| (file.spec().sample_rate, file.duration()))
                .collect();
            assert_eq!(files.iter().map(|(rate_hz, _)| *rate_hz).collect::<Vec<_>>(), [48_000, 44_100]);
            // It keeps its length by the clock, with silence for the time without a server.
            let recorded: f64 = files.iter().map(|(rate_hz, frames)| f64::from(*frames) / f64::from(*rate_hz)).sum();
            println!("{recorded:.3} s recorded in {lasted:.3} s");
            assert!((recorded - lasted).abs() < 0.3, "{recorded:.3} s recorded in {lasted:.3} s");
        },
    );
}
