//! Servers.

use std::time::Instant;

use syrinx::tts::choice::Delivery;
use syrinx::tts::{Manner, Speech};

use crate::fixture::{Failure, Fixture};
use crate::support::*;

#[test]
fn every_way_of_delivery_gives_the_same_samples() {
    let runtime = runtime();
    let (whole, rate_hz) = say(&runtime, open("espeak-ng"), TEXT).expect("speech");
    let fixture = Fixture::start(&runtime, Failure::None);
    for (kind, delivery) in [
        ("openai", Delivery::Stream),
        ("openai", Delivery::Pcm),
        ("openai", Delivery::Events),
        ("xtts", Delivery::Stream),
        ("xtts", Delivery::Whole),
    ] {
        let mut choice = choice(&fixture.source(kind));
        choice.delivery = delivery;
        let found = say(&runtime, choice.open().expect("a source"), TEXT).expect(kind);
        assert!(found == (whole.clone(), rate_hz), "{kind} {delivery:?}: {} for {}", found.0.len(), whole.len());
    }
}

#[test]
fn pipers_own_server_speaks_and_lists_its_voices() {
    let runtime = runtime();
    let server = Server::piper(free_port());
    let source = open(&format!("piper-http=http://127.0.0.1:{}", server.port));
    let (samples, rate_hz) = say(&runtime, source.clone(), TEXT).expect("speech");
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!(rate_hz == 22_050 && (2.0..8.0).contains(&seconds) && peak(&samples) > 0.1, "{seconds} s");
}

#[test]
fn wyoming_streams_text_in_and_audio_out_and_is_connected_to_anew() {
    let runtime = runtime();
    let port = free_port();
    let server = Server::wyoming(port);
    let source = open(&format!("wyoming=127.0.0.1:{port}"));
    let voices = runtime.block_on(source.voices()).expect("voices");
    assert!(voices.iter().any(|voice| voice.name == "en_US-joe-medium" && voice.languages == ["en_US"]), "{voices:?}");

    let (samples, rate_hz) = say(&runtime, source.clone(), TEXT).expect("speech");
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!(rate_hz == 22_050 && (2.0..8.0).contains(&seconds) && peak(&samples) > 0.1, "{seconds} s");

    // Cut off in the middle, the next sentence is not the rest of this one.
    let mut speech = Speech::of_text(runtime.handle(), source.clone(), &TEXT.repeat(3), Manner::default());
    assert!(runtime.block_on(speech.next()).expect("speech").is_some());
    speech.cancel();
    let (short, _) = say(&runtime, source.clone(), "Yes.").expect("speech");
    assert!((short.len() as f64) < 1.5 * f64::from(rate_hz), "{} samples", short.len());

    // Killed between two sentences and started anew.
    drop(server);
    let _server = Server::wyoming(port);
    assert!(say(&runtime, source, "Yes.").expect("speech").0.len() > 1000);
}

#[test]
fn the_first_audio_of_a_neural_voice_comes_before_its_text_is_said() {
    let runtime = runtime();
    let server = Server::wyoming(free_port());
    let source = open(&format!("wyoming=127.0.0.1:{}", server.port));
    say(&runtime, source.clone(), "Warm.").expect("speech");
    let start = Instant::now();
    let mut speech = Speech::of_text(runtime.handle(), source, &format!("{TEXT} {TEXT} {TEXT}"), Manner::default());
    runtime.block_on(speech.next()).expect("speech").expect("audio");
    let first = start.elapsed();
    while runtime.block_on(speech.next()).expect("speech").is_some() {}
    let all = start.elapsed();
    eprintln!("first audio after {first:?}, all after {all:?}");
    assert!(first < all / 2, "{first:?} of {all:?}");
}
