//! Speech through a voice.

use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::params::ConversionParams;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::tts::{ConvertedSpeech, Heard, Manner, Speech};

use crate::support::*;

const RATE_HZ: u32 = 48_000;
/// Longest time to wait for a word.
const PATIENCE: Duration = Duration::from_secs(20);

fn params() -> ConversionParams {
    ConversionParams { rms_mix_rate: 0.0, ..ConversionParams::default() }
}

fn stream() -> Stream<Cpu> {
    let files = ModelFiles {
        voice: data("synth_small_v1_32k.pth"),
        index: None,
        encoder: data("hubert_small_v1.weights.safetensors"),
        tracker: TrackerFile::Yin,
    };
    let voice = Engine::<Cpu>::new(Default::default()).converter(&files).expect("a voice");
    let settings = StreamSettings {
        rate_hz: RATE_HZ,
        timing: Timing { chunk: 0.1, crossfade: 0.04, context: 0.5 },
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    Stream::new(voice, settings, &params()).expect("a stream")
}

#[test]
fn the_voice_lasts_as_long_as_what_was_said_and_begins_before_that_ends() {
    let runtime = runtime();
    let (said, rate_hz) = say(&runtime, open("espeak-ng"), TEXT).expect("speech");
    let speech = Speech::of_text(runtime.handle(), open("espeak-ng"), TEXT, Manner::default());
    let mut voice = ConvertedSpeech::new(speech, stream(), params()).expect("a voice");
    let (mut heard, mut steps) = (Vec::new(), 0);
    loop {
        match voice.next(runtime.handle(), PATIENCE).expect("speech") {
            Heard::Voice(samples) => heard.extend_from_slice(samples),
            Heard::End => break,
            Heard::Waiting => panic!("espeak-ng says nothing"),
        }
        steps += 1;
    }
    let (said, heard_s) = (said.len() as f64 / f64::from(rate_hz), heard.len() as f64 / f64::from(RATE_HZ));
    // The filter between the rates ends in a few milliseconds of silence.
    assert!((heard_s - said).abs() < 0.01, "{heard_s} s for {said} s");
    assert!(peak(&heard) > 0.01 && steps > 20, "{steps} steps");
    assert!(matches!(voice.next(runtime.handle(), PATIENCE).expect("an end"), Heard::End));
}

#[test]
fn the_first_of_the_voice_comes_soon_after_the_first_word() {
    let runtime = runtime();
    let server = Server::wyoming(free_port());
    let source = open(&format!("wyoming=127.0.0.1:{}", server.port));
    say(&runtime, source.clone(), "Warm.").expect("speech");
    let mut differences = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let mut alone = Speech::of_text(runtime.handle(), source.clone(), TEXT, Manner::default());
        runtime.block_on(alone.next()).expect("speech").expect("audio");
        let alone_s = start.elapsed().as_secs_f64();
        drop(alone);
        let stream = stream();
        let start = Instant::now();
        let speech = Speech::of_text(runtime.handle(), source.clone(), TEXT, Manner::default());
        let mut voice = ConvertedSpeech::new(speech, stream, params()).expect("a voice");
        assert!(matches!(voice.next(runtime.handle(), PATIENCE).expect("speech"), Heard::Voice(_)));
        differences.push(start.elapsed().as_secs_f64() - alone_s);
    }
    differences.sort_by(f64::total_cmp);
    eprintln!("the voice begins {differences:.3?} s behind the speech alone");
    // A chunk and 60 ms on a machine that does nothing else; tests share theirs.
    assert!(differences[2] < 0.16 * 5.0, "{differences:?}");
}

#[test]
fn a_pause_lets_all_that_was_said_be_heard() {
    let runtime = runtime();
    let (tx, rx) = syrinx::tts::speech::text_channel();
    let speech = Speech::start(runtime.handle(), open("espeak-ng"), rx, Manner::default());
    let mut voice = ConvertedSpeech::new(speech, stream(), params()).expect("a voice");
    tx.blocking_send("Hello there.".into()).expect("a listener");
    let mut before = 0;
    loop {
        match voice.next(runtime.handle(), Duration::from_millis(1500)).expect("speech") {
            Heard::Voice(samples) => before += samples.len(),
            Heard::Waiting => break,
            Heard::End => panic!("more may come"),
        }
    }
    voice.pause();
    let mut after = 0;
    while let Heard::Voice(samples) = voice.next(runtime.handle(), Duration::from_millis(10)).expect("speech") {
        after += samples.len();
    }
    // At least what the join holds back.
    assert!(before > 4800 && after >= 2400, "{before} {after}");
    drop(tx);
    let mut tail = 0;
    loop {
        match voice.next(runtime.handle(), PATIENCE).expect("an end") {
            Heard::Voice(samples) => tail += samples.len(),
            Heard::End => break,
            Heard::Waiting => panic!("no end"),
        }
    }
    // Only silence, which the join held back.
    assert!(tail < 4800, "{tail} samples");
}
