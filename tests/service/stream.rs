//! `GET /stream`, by a WebSocket client.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use syrinx::units::Recording;
use tokio_tungstenite::tungstenite::Message;

use crate::socket::{Closed, Socket, start};
use crate::support::*;

/// The bundled recording at 48 kHz: speech, far below where the limiter acts.
fn speech() -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/syrinx.wav");
    let mut reader = hound::WavReader::open(path).expect("a recording");
    let rate_hz = f64::from(reader.spec().sample_rate);
    let samples: Vec<f32> = reader.samples::<i16>().map(|x| f32::from(x.expect("a sample")) / 65_536.0).collect();
    let length = (samples.len() as f64 * 48_000.0 / rate_hz) as usize;
    // Between neighbours, which is good enough for speech to stay speech.
    let at = |n: usize| {
        let place = n as f64 * rate_hz / 48_000.0;
        let (left, share) = (place as usize, place.fract() as f32);
        samples[left] * (1.0 - share) + samples.get(left + 1).unwrap_or(&0.0) * share
    };
    (0..length).map(at).collect()
}

fn f32le(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&sample| f32::from_le_bytes(sample)).collect()
}

fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

fn url(server: &Server) -> String {
    format!("{}/stream", server.address)
}

fn open(server: &Server) -> Socket {
    let opened = server.runtime.block_on(Socket::open(&url(server), HeaderMap::new()));
    opened.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// What came back of a whole conversation.
struct Heard {
    audio: Vec<u8>,
    words: Vec<Value>,
    closed: Closed,
    took: Duration,
}

impl Heard {
    fn of(&self, kind: &str) -> Vec<&Value> {
        self.words.iter().filter(|word| word["type"] == kind).collect()
    }
}

/// Sends `bytes` in messages of `size`, each when its time has come if a rate in bytes a second is given, and says stop;
/// hears all that comes back.
fn converse(server: &Server, socket: Socket, bytes: &[u8], size: usize, per_second: Option<f64>) -> Heard {
    let (mut tx, mut rx) = socket.stream.split();
    let began = Instant::now();
    let messages: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    let sending = server.runtime.spawn(async move {
        let mut sent = 0;
        for message in messages {
            sent += message.len();
            tx.send(Message::binary(message)).await.expect("an open socket");
            if let Some(per_second) = per_second {
                let due = began + Duration::from_secs_f64(sent as f64 / per_second);
                tokio::time::sleep_until(due.into()).await;
            }
        }
        tx.send(Message::text(r#"{"type":"stop"}"#)).await.expect("an open socket");
        tx
    });
    let mut heard = Heard { audio: Vec::new(), words: Vec::new(), closed: Closed(1006), took: Duration::ZERO };
    server.runtime.block_on(async {
        while let Some(Ok(message)) = rx.next().await {
            match message {
                Message::Text(text) => heard.words.push(serde_json::from_str(&text).expect("JSON")),
                Message::Binary(bytes) => heard.audio.extend_from_slice(&bytes),
                Message::Close(frame) => heard.closed = Closed(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
        drop(sending.await.expect("all sent"));
    });
    heard.took = began.elapsed();
    heard
}

#[test]
fn as_much_comes_back_as_was_sent_in_step_with_it_at_any_speed_and_in_any_portions() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let speech = &speech()[..48_000 * 4 + 77];
    let bytes = f32le(speech);
    // The input alone shows to the sample when each is heard.
    let dry = json!({ "pace": "free", "params": { "bypass": true } });
    let mut socket = open(&server);
    let ready = server.runtime.block_on(socket.start(&start(&id, &dry)));
    assert_eq!((ready["chunk_samples"].as_u64(), ready["rate_hz"].as_u64()), (Some(4800), Some(48_000)));
    let latency = &ready["latency"];
    assert!(latency["algorithmic_ms"].as_f64().is_some_and(|ms| (150.0..170.0).contains(&ms)), "{latency}");
    let heard = converse(&server, socket, &bytes, 100_000, None);
    assert_eq!((heard.audio.len(), &heard.closed), (bytes.len(), &Closed(1000)));
    let out = floats(&heard.audio);
    let error = out.iter().zip(speech).map(|(out, sent)| (out - sent).abs()).fold(0.0, f32::max);
    assert!(error < 1e-4, "{error}");

    for (message, per_second, pace) in
        [(3840, Some(4.0 * 48_000.0), "live"), (4 * 977, None, "free"), (4, None, "free")]
    {
        let bytes = if message == 4 { &bytes[..4 * 4800] } else { &bytes[..] };
        let mut socket = open(&server);
        server.runtime.block_on(socket.start(&start(&id, &json!({ "pace": pace }))));
        let heard = converse(&server, socket, bytes, message, per_second);
        assert_eq!((heard.audio.len(), &heard.closed), (bytes.len(), &Closed(1000)), "{message}");
        assert_eq!(heard.of("stopped")[0]["samples"].as_u64(), Some(bytes.len() as u64 / 4));
        let last = *heard.of("telemetry").last().expect("telemetry");
        eprintln!("{} ms of audio in messages of {message} bytes, {pace}: {:?}, {last}", bytes.len() / 192, heard.took);
        assert_eq!((last["shed_chunks"].as_u64(), last["failed_chunks"].as_u64()), (Some(0), Some(0)), "{last}");
        if message != 4 {
            let out = floats(&heard.audio);
            assert!(rms(&out) > 0.005 && rms(speech) > 0.01, "{}", rms(&out));
            assert!(out != floats(bytes), "nothing was converted");
            assert!(last["rtf"]["p50"].as_f64().is_some_and(|rtf| rtf > 0.0 && rtf < 1.0), "{last}");
        }
    }
}

#[test]
fn integers_come_back_as_integers() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let speech = &speech()[..48_000];
    let bytes: Vec<u8> = speech.iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect();
    let mut socket = open(&server);
    let fields = json!({ "format": "s16le", "pace": "free", "chunk_ms": 50, "params": { "bypass": true } });
    server.runtime.block_on(socket.start(&start(&id, &fields)));
    let heard = converse(&server, socket, &bytes, 4096, None);
    assert_eq!(heard.audio.len(), bytes.len());
    let far = heard
        .audio
        .as_chunks()
        .0
        .iter()
        .zip(bytes.as_chunks().0)
        .map(|(&out, &sent)| i16::from_le_bytes(out).abs_diff(i16::from_le_bytes(sent)));
    assert!(far.max() <= Some(2));
}

#[test]
fn voice_and_parameters_change_while_audio_runs() {
    let (server, _folder, id) = Server::with_voice(&[]);
    // Another by its index.
    let files = [("pth_file", VOICE, &bytes(VOICE)[..]), ("index_file", INDEX, &bytes(INDEX))];
    let (_, other) = server.form("/rvc-models", &[("name", "other")], &files);
    let other = other["id"].as_str().expect("an id").to_owned();
    let mut socket = open(&server);
    let tone: Vec<f32> = (0..9600).map(|n| 0.3 * ((n % 218) as f32 / 218.0 - 0.5)).collect();
    let tone = f32le(&tone);
    server.runtime.block_on(async {
        let ready = socket.start(&start(&id, &json!({ "params": { "transpose": 2 } }))).await;
        assert_eq!((&ready["params"]["transpose"], &ready["params"]["mix"]), (&json!(2.0), &json!(1.0)));
        // 48 kHz over 218 samples are 220.2 Hz.
        for _ in 0..8 {
            socket.send(tone.clone()).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        socket.word_of("telemetry").await;
        let telemetry = socket.word_of("telemetry").await;
        // The pitch that the voice follows.
        let hz = 220.2 * 2.0_f64.powf(2.0 / 12.0);
        assert!(telemetry["f0_hz"].as_f64().is_some_and(|found| (found / hz - 1.0).abs() < 0.02), "{telemetry}");
        assert!(telemetry["input"]["peak_db"].as_f64().is_some_and(|db| (-20.0..-10.0).contains(&db)), "{telemetry}");
        socket.say(&json!({ "type": "set", "params": { "transpose": -12, "gate": true } })).await;
        let changed = socket.word_of("changed").await;
        assert_eq!((&changed["params"]["transpose"], &changed["params"]["gate"]), (&json!(-12.0), &json!(true)));
        assert_eq!(changed["params"]["mix"], 1.0);
        socket.say(&json!({ "type": "set", "params": { "mute": true } })).await;
        socket.word_of("changed").await;
        socket.say(&json!({ "type": "set", "voice": other })).await;
        // It is taken between two chunks, so audio must come.
        let changed = loop {
            socket.send(tone.clone()).await;
            let (word, _) = socket.word().await.expect("a word");
            if word["type"] == "changed" && word["voice"] == json!(other) {
                break word;
            }
            assert_ne!(word["type"], "error", "{word}");
        };
        assert_eq!(changed["params"]["mute"], true);
        socket.say(&json!({ "type": "set", "params": { "transpose": 99 } })).await;
        let error = socket.word_of("error").await;
        assert_eq!(error["problem"]["status"], 422);
        assert!(
            error["problem"]["detail"].as_str().is_some_and(|told| told.starts_with("transpose: expected -48 to 48"))
        );
        socket.say(&json!({ "type": "set", "voice": "nobody" })).await;
        assert_eq!(socket.word_of("error").await["problem"]["status"], 404);
        // Muted it is silent to the end, which comes.
        for _ in 0..5 {
            socket.send(tone.clone()).await;
        }
        socket.say(&json!({ "type": "stop" })).await;
        let mut audio = Vec::new();
        let (stopped, closed) = loop {
            let (word, before) = socket.word().await.expect("a word");
            audio.extend(before);
            if word["type"] == "stopped" {
                break (word, socket.next().await);
            }
        };
        assert!(stopped["samples"].as_u64().is_some_and(|samples| samples >= 12 * 9600));
        assert_eq!(closed.map(|_| ()), Err(Closed(1000)));
        assert_eq!(rms(&floats(&audio[audio.len() - 4 * 9600..])), 0.0);
    });
}

#[test]
fn a_speakers_pitch_is_brought_to_the_voices_own_unless_it_is_set() {
    let (server, _folder) = Server::with_joe(&[]);
    let said = say(&server.runtime, "espeak-ng", &format!("{TEXT} {TEXT} {TEXT}"), high()).expect("speech");
    let wanted = semitones(pitch_hz(&said), JOES_HZ);
    let said = syrinx::dsp::rate::resample(&said, 48_000).expect("a rate");
    let talk = |params: Value| {
        let mut socket = open(&server);
        let fields = json!({ "pace": "free", "f0_method": "swift", "params": params });
        server.runtime.block_on(socket.start(&start("joe", &fields)));
        let heard = converse(&server, socket, &f32le(&said.samples), 9600, None);
        let shifts: Vec<f64> =
            heard.of("changed").iter().filter_map(|word| word["params"]["transpose"].as_f64()).collect();
        // Once it was found.
        let samples = floats(&heard.audio)[said.samples.len() / 2..].to_vec();
        (shifts, pitch_hz(&Recording { samples, sample_rate_hz: 48_000 }))
    };
    let (shifts, hz) = talk(json!({}));
    assert!((1..=4).contains(&shifts.len()), "{shifts:?}");
    assert!((*shifts.last().expect("a shift") as f32 - wanted).abs() < 1.5, "{shifts:?} for {wanted}");
    assert!(semitones(JOES_HZ, hz).abs() < 1.5, "{hz} Hz");
    let (shifts, hz) = talk(json!({ "transpose": -2 }));
    assert_eq!(shifts, Vec::<f64>::new());
    assert!((semitones(JOES_HZ, hz) - (-2.0 - wanted)).abs() < 1.0, "{hz} Hz");
}

#[test]
fn what_makes_no_sense_is_told_and_neither_stream_nor_service_minds() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let mut socket = open(&server);
    let refused = |word: Value, status: u64, told: &str| {
        assert_eq!((&word["type"], word["problem"]["status"].as_u64()), (&json!("error"), Some(status)), "{word}");
        assert!(word["problem"]["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{word}");
    };
    server.runtime.block_on(async {
        for (message, status, told) in [
            (Message::text("sing!"), 400, "expected"),
            (Message::text("{}"), 400, "type"),
            (Message::binary(vec![0; 8]), 422, "expected a start message"),
            (Message::text(start("nobody", &json!({})).to_string()), 404, "nobody"),
            (Message::text(start(&id, &json!({ "rate_hz": 44_123 })).to_string()), 422, "rate"),
            (Message::text(start(&id, &json!({ "chunk_ms": 1 })).to_string()), 422, "chunk"),
            (Message::text(start(&id, &json!({ "f0_method": "magic" })).to_string()), 422, "f0_method"),
            (Message::text(start(&id, &json!({ "colour": 1 })).to_string()), 400, "colour"),
        ] {
            socket.stream.send(message).await.expect("an open socket");
            refused(socket.word().await.expect("a word").0, status, told);
        }
        socket.start(&start(&id, &json!({}))).await;
        socket.send(vec![0; 7]).await;
        refused(socket.word_of("error").await, 422, "multiple of 4 bytes");
        socket.say(&start(&id, &json!({}))).await;
        refused(socket.word_of("error").await, 422, "set or stop");
        socket.send(f32le(&[f32::NAN; 960])).await;
        // One that is too long ends the stream, and is not waited for.
        socket.stream.send(Message::binary(vec![0; (256 << 10) + 4])).await.expect("an open socket");
        while let Ok(message) = socket.next().await {
            assert!(!message.is_binary() || floats(&message.into_data()).iter().all(|sample| sample.is_finite()));
        }
        // Who goes on without sense is not listened to for ever.
        let mut socket = Socket::open(&url(&server), HeaderMap::new()).await.map_err(|_| ()).expect("a socket");
        for _ in 0..16 {
            socket.say(&json!({ "type": "sing" })).await;
            assert_eq!(socket.word().await.expect("a word").0["type"], "error");
        }
        assert_eq!(socket.next().await.map(|_| ()), Err(Closed(1008)));
    });
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn streams_are_counted_limited_and_given_back() {
    let (server, _folder, id) = Server::with_voice(&["--max-live", "1", "--idle", "2"]);
    let open_streams = |server: &Server| {
        let text = server.send(server.request(reqwest::Method::GET, "/metrics"));
        let text = server.runtime.block_on(text.text()).expect("a text");
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("syrinx_service_{name} ")));
            line.unwrap_or_else(|| panic!("{name}: {text}")).parse::<f64>().expect("a number")
        };
        (line("running_live_streams"), line("live_streams_total"), line("live_chunks_total"))
    };
    let mut first = open(&server);
    server.runtime.block_on(first.start(&start(&id, &json!({ "pace": "free" }))));
    assert_eq!(open_streams(&server).0, 1.0);
    let refused = server.runtime.block_on(Socket::open(&url(&server), HeaderMap::new())).err().expect("a refusal");
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().expect("a value")));
    let (status, problem) = server.read(refused);
    assert_eq!((status, problem["detail"].as_str()), (503, Some("1 live streams run already")));
    let heard = converse(&server, first, &f32le(&vec![0.1; 48_000]), 19_200, None);
    assert_eq!(heard.closed, Closed(1000));
    let began = Instant::now();
    while open_streams(&server).0 > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(10), "it stays open");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (_, begun, chunks) = open_streams(&server);
    assert!(begun == 1.0 && chunks >= 10.0, "{begun} {chunks}");
    // One that says nothing is let go.
    let mut silent = open(&server);
    let began = Instant::now();
    assert_eq!(server.runtime.block_on(silent.next()).map(|_| ()), Err(Closed(1008)));
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_vanishes_is_noticed_and_its_place_is_free() {
    let (server, _folder, id) = Server::with_voice(&["--max-live", "1"]);
    let mut socket = open(&server);
    server.runtime.block_on(async {
        socket.start(&start(&id, &json!({}))).await;
        socket.send(f32le(&vec![0.1; 9600])).await;
    });
    drop(socket);
    let began = Instant::now();
    while server.runtime.block_on(Socket::open(&url(&server), HeaderMap::new())).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "its place is taken");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn when_the_service_stops_a_stream_gets_its_audio_and_then_the_close() {
    let (mut server, _folder, id) = Server::with_voice(&["--grace", "20"]);
    let mut socket = open(&server);
    let speech = &speech()[..48_000];
    let audio = server.runtime.block_on(async {
        socket.start(&start(&id, &json!({ "pace": "free" }))).await;
        socket.send(f32le(speech)).await;
        // Some of it is back, so that all of it is there.
        socket.next().await.expect("audio").into_data().len()
    });
    let reading = server.runtime.spawn(async move {
        let mut length = audio;
        loop {
            match socket.next().await {
                Ok(message) if message.is_binary() => length += message.into_data().len(),
                Ok(_) => {}
                Err(closed) => return (length, closed),
            }
        }
    });
    assert_eq!(server.terminate(), Some(0));
    let (length, closed) = server.runtime.block_on(reading).expect("a reader");
    assert_eq!((length, closed), (4 * speech.len(), Closed(1001)));
}

#[test]
fn a_token_is_shown_as_header_or_as_protocol_and_pages_of_other_sites_need_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "a-long-and-secret-token").expect("a file");
    let headers = |list: &[(&'static str, &'static str)]| {
        list.iter()
            .map(|&(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect::<HeaderMap>()
    };
    let status = |server: &Server, list: &[(&'static str, &'static str)]| {
        let opened = server.runtime.block_on(Socket::open(&url(server), headers(list)));
        opened.map_or_else(|refused| refused.status().as_u16(), |_| 101)
    };
    let server = Server::start(folder.path(), &["--token-file", file.to_str().expect("a path")]);
    assert_eq!(status(&server, &[]), 401);
    assert_eq!(status(&server, &[("authorization", "Bearer a-long-and-secret-token")]), 101);
    assert_eq!(status(&server, &[("sec-websocket-protocol", "syrinx, bearer.a-long-and-secret-token")]), 101);
    assert_eq!(status(&server, &[("sec-websocket-protocol", "syrinx, bearer64.YS1sb25nLWFuZC1zZWNyZXQtdG9rZW4")]), 101);
    assert_eq!(status(&server, &[("sec-websocket-protocol", "syrinx, bearer.a-long-and-secret-tokem")]), 401);
    assert_eq!(status(&server, &[("sec-websocket-protocol", "bearer.a-long-and-secret-token")]), 400);
    drop(server);
    let server = Server::start(folder.path(), &[]);
    assert_eq!(status(&server, &[]), 101);
    assert_eq!(status(&server, &[("origin", "http://evil.example")]), 403);
    assert_eq!(server.get("/stream").0, 426);
}
