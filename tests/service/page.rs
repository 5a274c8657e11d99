//! The web page, in a real browser.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::support::*;

const TOKEN: &str = "a+long/and=secret";
/// Pitch of what the microphone hears.
const TONE_HZ: f64 = 220.0;

/// A wav with a tone of many harmonics, for a microphone.
fn tone(folder: &Path) -> PathBuf {
    let path = folder.join("microphone.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).expect("a file");
    for n in 0..480_000 {
        let phase = f64::from(n) * TONE_HZ / 48_000.0;
        writer.write_sample((8000.0 * (2.0 * phase.fract() - 1.0)) as i16).expect("a sample");
    }
    writer.finalize().expect("a file");
    path
}

/// A number of the server's metrics.
fn metric(server: &Server, name: &str) -> f64 {
    let text = server.send(server.request(reqwest::Method::GET, "/metrics"));
    let text = server.runtime.block_on(text.text()).expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("syrinx_service_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().expect("a number")
}

#[test]
fn the_microphone_goes_round_through_the_voice_and_back_to_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("a file");
    let mut server = Server::start(folder.path(), &["--token-file", file.to_str().expect("a path")]);
    server.token = Some(TOKEN.into());
    server.upload("small", VOICE);
    let mut browser = Chromium::start(&tone(folder.path()));
    browser.open(&server.address);

    // The token is asked for, and a wrong one again.
    browser.wait("!document.getElementById('token-form').hidden");
    browser.write("token", "not-the-right-token");
    browser.press("Enter", 13, "\r");
    browser.wait("document.getElementById('problem').textContent.includes('does not know this token')");
    browser.eval("document.getElementById('token').value = ''");
    browser.write("token", TOKEN);
    browser.press("Enter", 13, "\r");
    browser.wait("document.getElementById('status').textContent === 'Ready'");
    assert_eq!(browser.eval("document.getElementById('voice').selectedOptions[0].text"), "small");
    // Refused requests are complaints of the browser's, too.
    assert!(browser.complaints().iter().all(|told| told.contains("401")));

    browser.select("tracker", "yin");
    // A browser beside it leaves the service little of a small machine.
    browser.select("chunk", "200");
    browser.select("buffer", "250");
    browser.enter("live-toggle");
    browser.wait("document.getElementById('live-state').textContent === 'On air'");
    // What the server received is what the microphone heard.
    let pitch =
        |hz: f64| format!("Math.abs(parseFloat(document.getElementById('fact-pitch').textContent) / {hz} - 1) < 0.03");
    browser.wait(&pitch(TONE_HZ));
    browser.wait("document.getElementById('meter-in').getAttribute('aria-valuenow') > -30");
    // What the page plays is no silence, for a second on end.
    browser.wait("document.getElementById('meter-out').getAttribute('aria-valuenow') > -50");
    let levels = browser.eval(
        "(async () => { const levels = []; for (let n = 0; n < 20; n++) { await new Promise((r) => setTimeout(r, 50));
           levels.push(Number(document.getElementById('meter-out').getAttribute('aria-valuenow'))); } return levels; })()",
    );
    let levels: Vec<f64> = levels.as_array().expect("levels").iter().filter_map(Value::as_f64).collect();
    assert!(levels.iter().filter(|level| **level > -50.0).count() > 15, "{levels:?}");
    assert!(metric(&server, "running_live_streams") == 1.0 && metric(&server, "live_chunks_total") > 5.0);

    // A step up by a key is heard by the server: the voice's pitch follows, by an octave in all.
    browser.eval("document.getElementById('transpose').focus()");
    for _ in 0..12 {
        browser.press("ArrowRight", 39, "");
    }
    assert_eq!(browser.text("transpose-value"), "+12 semitones");
    assert_eq!(browser.eval("document.getElementById('own_pitch').checked"), false);
    browser.wait(&pitch(2.0 * TONE_HZ));
    let facts = ["latency", "rtf", "late", "underruns", "buffer"].map(|fact| browser.text(&format!("fact-{fact}")));
    eprintln!("{facts:?}");
    assert!(facts.iter().all(|fact| fact.starts_with(|letter: char| letter.is_ascii_digit())), "{facts:?}");
    assert!(facts[0].trim_end_matches(" ms").parse::<f64>().is_ok_and(|ms| (250.0..2500.0).contains(&ms)), "{facts:?}");

    browser.enter("live-toggle");
    browser.wait("document.getElementById('live-state').textContent === 'Off'");
    let began = std::time::Instant::now();
    while metric(&server, "running_live_streams") > 0.0 {
        assert!(began.elapsed().as_secs() < 10, "the stream goes on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn voices_are_added_recordings_converted_and_texts_spoken_on_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let mut browser = Chromium::start(&tone(folder.path()));
    browser.open(&server.address);
    browser.wait("document.getElementById('status').textContent === 'Ready'");
    assert_eq!(browser.eval("document.getElementById('convert-go').disabled"), true);

    browser.choose("upload-pth", &data("README.md"));
    browser.write("upload-name", "small");
    browser.press("Enter", 13, "\r");
    browser.wait("document.getElementById('upload-told').textContent.includes('expected')");
    assert!(browser.complaints().iter().all(|told| told.contains("400")));
    browser.choose("upload-pth", &data(VOICE));
    browser.choose("upload-index", &data(INDEX));
    browser.enter("upload-name");
    browser.wait("document.getElementById('upload-told').textContent === '“small” is there.'");
    assert!(browser.text("voice-facts").contains("32 kHz · with index"), "{}", browser.text("voice-facts"));
    assert_eq!(server.get("/rvc-models").1["total"], 1);

    browser.select("tracker", "yin");
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/syrinx.wav");
    let seconds = f64::from(hound::WavReader::open(&recording).expect("a recording").duration()) / 22_050.0;
    browser.choose("convert-file", &recording);
    browser.enter("convert-go");
    browser.wait("document.getElementById('convert-told').textContent === 'Done.'");
    let duration = |browser: &mut Chromium, id: &str| {
        browser.wait(&format!("document.getElementById('{id}').duration > 0"));
        browser.eval(&format!("document.getElementById('{id}').duration")).as_f64().expect("a duration")
    };
    let converted = duration(&mut browser, "convert-audio");
    assert!((converted - seconds).abs() < 0.01, "{converted} of {seconds} s");
    assert_eq!(browser.eval("document.getElementById('convert-download').download"), "syrinx-converted.wav");

    browser.enter("speak-go");
    browser.wait("document.getElementById('speak-told').textContent.startsWith('First sound after')");
    browser.wait("document.getElementById('speak-told').textContent.endsWith('Done.')");
    assert!((1.0..6.0).contains(&duration(&mut browser, "speak-audio")));
    // What went wrong is told where it was asked for.
    browser.select("tracker", "fcpe");
    browser.enter("speak-go");
    browser.wait("document.getElementById('speak-told').textContent.includes('not found')");
    assert!(browser.complaints().iter().all(|told| told.contains("404")));
}

#[test]
fn the_page_has_a_strict_policy_and_asks_for_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    for path in ["/", "/page.js", "/page.css", "/worklet.js", "/icon.svg"] {
        let response = server.send(server.request(reqwest::Method::GET, path));
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
}

#[test]
fn every_control_has_a_name_and_is_reached_by_keys_and_nothing_is_wider_than_a_phone() {
    let (server, folder, _) = Server::with_voice(&[]);
    let mut browser = Chromium::start(&tone(folder.path()));
    browser.open(&server.address);
    browser.wait("document.getElementById('status').textContent === 'Ready'");
    browser.eval("document.querySelectorAll('details').forEach((details) => (details.open = true))");
    for (width, scheme) in [(1280, "light"), (360, "dark"), (320, "light")] {
        browser.resize(width, 800);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.call("Emulation.setEmulatedMedia", media);
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{wide} at {width}");
        let beyond = browser.eval(&format!(
            "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > {width})
               .map((e) => e.id || e.outerHTML.slice(0, 80))"
        ));
        assert_eq!(beyond, json!([]), "at {width}");
    }

    // All that can be used now, in the order of the page.
    let controls = browser.eval(
        "[...document.querySelectorAll('a[href], button, input, select, textarea, summary, audio')]
           .filter((e) => !e.disabled && e.checkVisibility()).map((e) => e.id || e.textContent.trim())",
    );
    let controls: Vec<String> = serde_json::from_value(controls).expect("names");
    assert!(controls.len() > 25, "{controls:?}");
    let nameless = browser.eval(
        "[...document.querySelectorAll('button, input, select, textarea, audio, progress, canvas, [role=meter]')]
           .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    browser.eval("document.activeElement.blur()");
    let mut reached = Vec::new();
    for _ in 0..controls.len() {
        browser.press("Tab", 9, "");
        let focus = browser.eval(
            "(() => { const e = document.activeElement, style = getComputedStyle(e);
               return [e.id || e.textContent.trim(), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; })()",
        );
        assert_eq!(focus[1], true, "the focus on {} does not show", focus[0]);
        reached.push(focus[0].as_str().expect("a name").to_owned());
    }
    assert_eq!(reached, controls);
    // A switch is turned over by the space bar.
    browser.eval("document.getElementById('mute').focus()");
    browser.press(" ", 32, " ");
    assert_eq!(browser.eval("document.getElementById('mute').getAttribute('aria-pressed')"), "true");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
