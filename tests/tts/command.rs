//! Programs.

use std::path::Path;
use std::time::{Duration, Instant};

use syrinx::tts::command::CommandSource;
use syrinx::tts::{Manner, Speech};

use crate::support::*;

#[test]
fn espeak_says_each_sentence_at_the_rate_that_its_header_names() {
    let runtime = runtime();
    let (samples, rate_hz) = say(&runtime, open("espeak-ng"), TEXT).expect("speech");
    assert_eq!(rate_hz, 22_050);
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!((2.5..8.0).contains(&seconds) && peak(&samples) > 0.1, "{seconds} s");
    let (twice, _) = say(&runtime, open("espeak-ng"), &format!("{TEXT} {TEXT}")).expect("speech");
    assert_eq!(twice.len(), 2 * samples.len());
}

#[test]
fn voice_language_and_speed_reach_the_program() {
    let runtime = runtime();
    let length = |manner: Manner| {
        let mut speech = Speech::of_text(runtime.handle(), open("espeak-ng"), "Um, dois, um, dois.", manner);
        let mut length = 0;
        while let Some(piece) = runtime.block_on(speech.next()).expect("speech") {
            length += piece.samples.len();
        }
        length
    };
    let usual = length(Manner::default());
    let slow = length(Manner { speed: Some(0.6), ..Manner::default() });
    let portuguese = length(Manner { language: Some("pt-br".into()), ..Manner::default() });
    assert!(slow as f64 > 1.3 * usual as f64, "{usual} {slow}");
    assert_ne!(portuguese, usual);
    let voices = runtime.block_on(open("espeak-ng").voices()).expect("voices");
    assert!(voices.len() > 50 && voices.iter().any(|voice| voice.name == "pt-br"));
}

#[test]
fn any_program_speaks_that_writes_a_wav_or_raw_pcm() {
    let runtime = runtime();
    let (wav, rate_hz) = say(&runtime, open("espeak-ng"), "Hello.").expect("speech");
    let (argument, _) = say(&runtime, open("command=espeak-ng -b 1 --stdout -- {}"), "Hello.").expect("speech");
    assert_eq!(wav, argument);
    let mut raw = choice("command=sh -c 'espeak-ng -b 1 --stdout --stdin | tail -c +45'");
    let told = say(&runtime, raw.open().expect("a source"), "Hello.").expect_err("no rate").to_string();
    assert!(told.contains("raw PCM without a rate") && told.contains("--tts-rate"), "{told}");
    raw.rate_hz = Some(rate_hz);
    assert_eq!(say(&runtime, raw.open().expect("a source"), "Hello.").expect("speech").0, wav);
}

#[test]
fn piper_says_all_in_one_run_with_its_neural_voice() {
    let runtime = runtime();
    let program = python().join("bin/piper");
    let source = CommandSource::piper(Some(program), &model()).expect("a source");
    let (samples, rate_hz) = say(&runtime, std::sync::Arc::new(source), TEXT).expect("speech");
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!(rate_hz == 22_050 && (2.0..8.0).contains(&seconds) && peak(&samples) > 0.1, "{seconds} s at {rate_hz} Hz");
}

#[test]
fn a_program_that_is_missing_or_fails_is_an_error_with_what_it_says() {
    let runtime = runtime();
    let error = say(&runtime, open("espeak-ng=/nowhere/espeak"), "Hello.").expect_err("no program");
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().starts_with("/nowhere/espeak: ") && error.to_string().contains("install it"), "{error}");
    let error =
        say(&runtime, open("command=sh -c 'echo no voice today >&2; exit 3'"), "Hello.").expect_err("a failure");
    assert!(error.to_string().contains("exit status: 3") && error.to_string().contains("no voice today"), "{error}");
    let error = say(&runtime, open("command=cat"), "Hello.").expect_err("no audio");
    assert!(error.to_string().contains("its output is raw PCM without a rate"), "{error}");
}

#[test]
fn speech_that_is_cancelled_ends_its_program_in_the_middle_of_a_word() {
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let pid = folder.path().join("pid");
    let command = format!("command=sh -c 'echo $$ > {}; exec espeak-ng --stdout --stdin'", pid.display());
    // More than the pipe, the channel and the program's own buffers hold.
    let text = "and so it goes on ".repeat(18);
    let sentences = vec![text.trim(); 40].join(". ");
    let mut speech = Speech::of_text(runtime.handle(), open(&command), &sentences, Manner::default());
    assert!(runtime.block_on(speech.next()).expect("speech").is_some());
    let process = std::fs::read_to_string(&pid).expect("a process");
    let process = Path::new("/proc").join(process.trim());
    speech.cancel();
    assert_eq!(runtime.block_on(speech.next()).expect("an end"), None);
    let start = Instant::now();
    while process.join("exe").exists() {
        assert!(start.elapsed() < Duration::from_secs(5), "{} still runs", process.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
