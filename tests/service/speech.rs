//! `POST /v1/audio/speech`, by clients that speak OpenAI's language.

use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use syrinx::units::Recording;

use crate::support::*;

fn ask(server: &Server, body: &Value) -> reqwest::Response {
    let request = server.request(Method::POST, "/v1/audio/speech").header("content-type", "application/json");
    server.send(request.body(body.to_string()))
}

#[test]
fn speech_comes_while_it_is_said_in_every_delivery() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let body = |format: &str| json!({ "model": "tts-1", "input": TEXT, "voice": id, "response_format": format, "rvc_f0_method": "yin" });
    let response = ask(&server, &body("pcm"));
    assert_eq!(response.headers()["content-type"], "audio/pcm;rate=32000;channels=1");
    assert_eq!(response.headers()["x-sample-rate"], "32000");
    let pcm = server.runtime.block_on(response.bytes()).expect("a body");
    let seconds = pcm.len() as f64 / 64_000.0;
    assert!((2.5..8.0).contains(&seconds), "{seconds} s");

    let wav = server.runtime.block_on(ask(&server, &body("wav")).bytes()).expect("a body");
    assert_eq!((&wav[..4], u32::from_le_bytes(wav[24..28].try_into().expect("a rate"))), (&b"RIFF"[..], 32_000));
    assert_eq!(wav[44..], pcm);

    let mut events = body("pcm");
    events["stream_format"] = json!("sse");
    let response = ask(&server, &events);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = server.runtime.block_on(response.text()).expect("events");
    let mut decoded = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(line).expect("JSON");
        if event["type"] == "speech.audio.delta" {
            let audio = event["audio"].as_str().expect("audio");
            decoded.extend(base64::engine::general_purpose::STANDARD.decode(audio).expect("base64"));
        }
    }
    assert!(decoded == pcm && text.trim_end().ends_with("{\"type\":\"speech.audio.done\"}"));

    // By its name, in the format that OpenAI's clients get where they name none.
    let mp3 = ask(&server, &json!({ "input": "Hello.", "voice": "small" }));
    assert_eq!(mp3.headers()["content-type"], "audio/mpeg");
    assert!(server.runtime.block_on(mp3.bytes()).expect("a body").len() > 1000);
}

#[test]
fn speech_is_brought_to_the_voices_own_pitch_alike_each_time_unless_another_is_wanted() {
    let (server, _folder) = Server::with_joe(&[]);
    let said_hz = pitch_hz(&say(&server.runtime, "espeak-ng", TEXT, high()).expect("speech"));
    let wanted = semitones(said_hz, JOES_HZ);
    let speak = |text: &str, fields: &Value| {
        let mut body = json!({ "input": text, "voice": "joe", "response_format": "pcm", "voice_preset": "en+f3" });
        body.as_object_mut().expect("a body").extend(fields.as_object().expect("fields").clone());
        let response = ask(&server, &body);
        let told = response.headers().get("x-transpose-semitones");
        let told: Option<f32> = told.map(|told| told.to_str().expect("a text").parse().expect("a number"));
        let rate = response.headers()["x-sample-rate"].to_str().expect("a text").parse().expect("a rate");
        let pcm = server.runtime.block_on(response.bytes()).expect("a body");
        let samples = pcm.as_chunks().0.iter().map(|&sample| f32::from(i16::from_le_bytes(sample)) / 32_768.0);
        (told, pitch_hz(&Recording { samples: samples.collect(), sample_rate_hz: rate }))
    };
    let (first, hz) = speak(TEXT, &json!({}));
    assert!(first.is_some_and(|told| (told - wanted).abs() < 2.0), "{first:?} for {wanted}");
    assert!(semitones(JOES_HZ, hz).abs() < 2.0, "{hz} Hz");
    // Now it is known, whatever is said.
    let (second, _) = speak("Why? Oh, why?", &json!({}));
    assert!(second.is_some_and(|told| (told - wanted).abs() < 1.0), "{second:?} for {wanted}");
    let (third, hz) = speak(TEXT, &json!({}));
    assert!(third == second && semitones(JOES_HZ, hz).abs() < 1.5, "{third:?}, {hz} Hz");
    let (told, hz) = speak(TEXT, &json!({ "rvc_pitch": -3 }));
    assert!(told.is_none() && (semitones(said_hz, hz) + 3.0).abs() < 1.0, "{hz} Hz from {said_hz} Hz");
}

#[test]
fn the_first_sound_comes_before_the_text_is_said_and_hanging_up_ends_it() {
    let (server, _folder, id) = Server::with_voice(&["--max-streams", "1"]);
    let body = json!({ "input": TEXT.repeat(50), "voice": id, "response_format": "pcm", "rvc_f0_method": "yin" });
    let start = Instant::now();
    let mut response = ask(&server, &body);
    server.runtime.block_on(response.chunk()).expect("a chunk").expect("a chunk");
    eprintln!("first sound of {} letters after {:?}", 67 * 50, start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    let busy = ask(&server, &body);
    assert_eq!((busy.status().as_u16(), busy.headers().contains_key("retry-after")), (429, true));
    drop(response);
    let start = Instant::now();
    while ask(&server, &json!({ "input": "Hi.", "voice": id, "response_format": "wav" })).status() != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_cannot_be_said_has_a_status() {
    let (server, folder, id) = Server::with_voice(&[]);
    for (body, status) in [
        (json!({ "input": "Hi.", "voice": "alloy" }), 404),
        (json!({ "input": "", "voice": id }), 422),
        (json!({ "input": "...", "voice": id }), 422),
        (json!({ "input": "Hi.", "voice": id, "response_format": "wma" }), 422),
        (json!({ "input": "Hi.", "voice": id, "stream_format": "xml" }), 422),
        (json!({ "input": "Hi.", "voice": id, "speed": 9 }), 422),
        // No model of it is there.
        (json!({ "input": "Hi.", "voice": id, "rvc_f0_method": "fcpe" }), 404),
    ] {
        let (found, problem) = server.read(ask(&server, &body));
        assert_eq!(found, status, "{problem}");
    }
    drop(server);
    let server = Server::start(folder.path(), &["--tts", "espeak-ng=/nowhere/espeak"]);
    let (status, problem) = server.read(ask(&server, &json!({ "input": "Hi.", "voice": id })));
    assert_eq!(status, 502, "{problem}");
    // A job is tried again meanwhile, and can be ended.
    let (_, job) = server.post("/jobs", &json!({ "text": "Hi." }));
    let job = job["id"].as_str().expect("an id").to_owned();
    server.wait(&job, |job| {
        job["status"] == "queued" && job["error"].as_str().is_some_and(|told| told.contains("/nowhere"))
    });
    assert_eq!(server.post(&format!("/jobs/{job}/cancel"), &json!({})).0, 200);
}
