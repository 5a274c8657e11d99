//! Servers that fail, and what is heard nevertheless.

use std::time::{Duration, Instant};

use syrinx::tts::choice::Delivery;

use crate::fixture::{Failure, Fixture};
use crate::support::*;

#[test]
fn a_sentence_that_breaks_off_is_said_to_its_end_without_a_word_twice() {
    let runtime = runtime();
    let (whole, _) = say(&runtime, open("espeak-ng"), TEXT).expect("speech");
    for delivery in [Delivery::Stream, Delivery::Pcm, Delivery::Events] {
        let fixture = Fixture::start(&runtime, Failure::Breaks(30_000, 2));
        let mut choice = choice(&fixture.source("openai"));
        choice.delivery = delivery;
        let (samples, _) = say(&runtime, choice.open().expect("a source"), TEXT).expect("speech");
        // Two attempts that break, one that does not, and the second sentence.
        assert_eq!(fixture.requests(), 4, "{delivery:?}");
        assert!(samples == whole, "{delivery:?}: {} samples for {}", samples.len(), whole.len());
    }
}

#[test]
fn a_server_that_starts_late_is_waited_for_and_one_that_never_does_is_an_error_in_time() {
    let runtime = runtime();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let source = open(&format!("openai=http://{address}"));
    let start = Instant::now();
    let error = say(&runtime, source.clone(), "Hello.").expect_err("no server").to_string();
    assert!(error.starts_with(&format!("http://{address}: ")) && error.contains("is it running?"), "{error}");
    assert!((2.0..15.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());

    let speaking = std::thread::spawn({
        let runtime = runtime.handle().clone();
        move || {
            let mut speech = syrinx::tts::Speech::of_text(&runtime, source, "Hello.", syrinx::tts::Manner::default());
            runtime.block_on(speech.next())
        }
    });
    std::thread::sleep(Duration::from_millis(600));
    let _fixture = Fixture::start_at(&runtime, address, Failure::None);
    assert!(speaking.join().expect("a thread").expect("speech").is_some());
}

#[test]
fn a_server_that_is_busy_is_asked_again_when_it_says_and_one_that_refuses_is_not() {
    let runtime = runtime();
    for status in [429, 503] {
        let fixture = Fixture::start(&runtime, Failure::Status(status, 1));
        let start = Instant::now();
        say(&runtime, open(&fixture.source("openai")), "Hello.").expect("speech");
        assert_eq!(fixture.requests(), 2);
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    }
    for status in [400, 401, 404, 501] {
        let fixture = Fixture::start(&runtime, Failure::Status(status, 9));
        let error = say(&runtime, open(&fixture.source("openai")), "Hello.").expect_err("refused").to_string();
        assert_eq!(fixture.requests(), 1);
        assert!(error.contains(&format!("answers {status}")) && error.contains("not now"), "{error}");
    }
}

#[test]
fn a_rate_that_nothing_tells_is_asked_for() {
    let runtime = runtime();
    let fixture = Fixture::start(&runtime, Failure::NoRate);
    let mut choice = choice(&fixture.source("openai"));
    choice.delivery = Delivery::Pcm;
    let error = say(&runtime, choice.open().expect("a source"), "Hello.").expect_err("no rate").to_string();
    assert!(error.contains("without a rate") && error.contains("--tts-rate"), "{error}");
    choice.rate_hz = Some(22_050);
    let (samples, _) = say(&runtime, choice.open().expect("a source"), "Hello.").expect("speech");
    assert_eq!(samples, say(&runtime, open("espeak-ng"), "Hello.").expect("speech").0);
}
