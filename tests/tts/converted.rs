//! Speech through a voice.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::params::ConversionParams;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::tts::{ConvertedSpeech, Heard, Manner, OwnPitch, Source, Speaker, Speech, UsualPitches};

use crate::support::*;

const RATE_HZ: u32 = 48_000;
/// Seconds of audio that are converted at a time.
const CHUNK_S: f64 = 0.1;
/// Times that something is timed.
const ROUNDS: usize = 8;
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
        timing: Timing { chunk: CHUNK_S, crossfade: 0.04, context: 0.5 },
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    Stream::new(voice, settings, &params()).expect("a stream")
}

/// Times what this process does, less what the thread of it that waited longest waited for a processor.
struct Timer {
    start: Instant,
    waits_s: HashMap<OsString, f64>,
}

impl Timer {
    fn start() -> Self {
        Self { start: Instant::now(), waits_s: waits_s() }
    }

    fn seconds(&self) -> f64 {
        let elapsed_s = self.start.elapsed().as_secs_f64();
        let before_s = |thread: &OsString| self.waits_s.get(thread).copied().unwrap_or_default();
        let waited_s = waits_s().iter().map(|(thread, now_s)| now_s - before_s(thread)).fold(0.0, f64::max);
        elapsed_s - waited_s
    }
}

#[test]
fn the_voice_lasts_as_long_as_what_was_said_and_begins_before_that_ends() {
    let runtime = runtime();
    let (said, rate_hz) = say(&runtime, open("espeak-ng"), TEXT).expect("speech");
    let speech = Speech::of_text(runtime.handle(), open("espeak-ng"), TEXT, Manner::default());
    let mut voice = ConvertedSpeech::new(speech, stream(), params(), None).expect("a voice");
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
    // Whatever else the machine does makes either later and none earlier: the earliest of each tells what they take, that of the
    // voice less the time that a thread of this process waited meanwhile for a processor.
    let (mut alone_s, mut voice_s) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let timer = Timer::start();
        let mut alone = Speech::of_text(runtime.handle(), source.clone(), TEXT, Manner::default());
        runtime.block_on(alone.next()).expect("speech").expect("audio");
        alone_s = alone_s.min(timer.start.elapsed().as_secs_f64());
        drop(alone);
        let stream = stream();
        let timer = Timer::start();
        let speech = Speech::of_text(runtime.handle(), source.clone(), TEXT, Manner::default());
        // Of a speaker who was never heard.
        let own_pitch = OwnPitch::new(OWN_HZ, Speaker::of(&*source, &Manner::default()), Arc::default());
        let mut voice = ConvertedSpeech::new(speech, stream, params(), Some(own_pitch)).expect("a voice");
        assert!(matches!(voice.next(runtime.handle(), PATIENCE).expect("speech"), Heard::Voice(_)));
        voice_s = voice_s.min(timer.seconds());
    }
    let behind_s = voice_s - alone_s;
    eprintln!("the speech begins after {alone_s:.3} s, the voice {behind_s:.3} s behind it");
    assert!(behind_s < CHUNK_S + 0.06, "{behind_s} s");
}

/// Pitch in Hz that speech is brought to.
const OWN_HZ: f32 = 150.0;

/// Says a text to its end; the shifts that were in force while it was heard.
fn shifts(source: &Arc<dyn Source>, manner: &Manner, text: &str, pitches: &Arc<UsualPitches>) -> Vec<f32> {
    let runtime = runtime();
    let own_pitch = OwnPitch::new(OWN_HZ, Speaker::of(&**source, manner), pitches.clone());
    let speech = Speech::of_text(runtime.handle(), source.clone(), text, manner.clone());
    let mut voice = ConvertedSpeech::new(speech, stream(), params(), Some(own_pitch)).expect("a voice");
    let mut shifts = Vec::new();
    while let Heard::Voice(samples) = voice.next(runtime.handle(), PATIENCE).expect("speech") {
        let is_heard = peak(samples) > 1e-3;
        shifts.extend(voice.shift().or(is_heard.then_some(f32::NAN)));
    }
    shifts.dedup();
    shifts
}

#[test]
fn a_speakers_pitch_is_found_before_the_first_sound_and_remembered() {
    let runtime = runtime();
    let server = Server::steady_wyoming(free_port());
    let (espeak, piper) = (open("espeak-ng"), open(&format!("wyoming=127.0.0.1:{}", server.port)));
    let pitches = Arc::default();
    let of = |voice: &str| Manner { voice: Some(voice.into()), ..Manner::default() };
    for (source, manner) in [(&espeak, of("en+f3")), (&espeak, of("en+m3")), (&piper, Manner::default())] {
        let mut speech = Speech::of_text(runtime.handle(), source.clone(), TEXT, manner.clone());
        let (mut said, mut rate_hz) = (Vec::new(), 0);
        while let Some(piece) = runtime.block_on(speech.next()).expect("speech") {
            rate_hz = piece.rate_hz;
            said.extend(piece.samples);
        }
        let wanted = semitones(pitch_hz(&said, rate_hz), OWN_HZ);
        let first = shifts(source, &manner, TEXT, &pitches);
        // One shift from the first sound to the last.
        assert!(first.len() == 1 && (first[0] - wanted).abs() < 2.0, "{first:?} for {wanted}");
        // And the next as all of the first tells, whatever it begins with.
        let second = shifts(source, &manner, "Why? Oh, why?", &pitches);
        assert!(second.len() == 1 && (second[0] - wanted).abs() < 0.7, "{second:?} for {wanted}");
        assert_eq!(shifts(source, &manner, TEXT, &pitches), second);
    }
}

#[test]
fn a_pause_lets_all_that_was_said_be_heard() {
    let runtime = runtime();
    let (tx, rx) = syrinx::tts::speech::text_channel();
    let speech = Speech::start(runtime.handle(), open("espeak-ng"), rx, Manner::default());
    let mut voice = ConvertedSpeech::new(speech, stream(), params(), None).expect("a voice");
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
