//! A live session that is steered by OSC and watched over HTTP while it runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType, encoder};

use crate::running::{PATIENCE, Running, data};

fn message(addr: &str, args: Vec<OscType>) -> OscPacket {
    OscPacket::Message(OscMessage { addr: addr.into(), args })
}

#[test]
fn osc_steers_a_session_and_nonsense_does_not_disturb_it() {
    let slot = format!(
        "{},index={},pitch=5",
        data("synth_small_v1_32k.pth").display(),
        data("added_IVF15_Flat_nprobe_1_small_v1.index").display()
    );
    let mut live = Running::start(&["--osc", "127.0.0.1:0", "--slot", &slot, "--pitch", "2"]);
    let address = live.told_after("OSC is heard at ").parse::<SocketAddr>().expect("an address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |packet: &OscPacket| {
        socket.send_to(&encoder::encode(packet).expect("a packet"), address).expect("sent");
    };
    let start = live.until("a start", |_| true);
    assert_eq!((&start["slot"], &start["transpose"]), (&1.into(), &2.0.into()));

    for nonsense in [&b""[..], b"\0", b"#bundle\0", b"/syrinx/transpose\0\0\0,f\0\0", &[0xff; 700], &vec![b'/'; 60_000]]
    {
        socket.send_to(nonsense, address).expect("sent");
    }
    send(&message("/syrinx/transpose", vec![OscType::Float(f32::INFINITY)]));
    send(&message("/syrinx/slot", vec![OscType::Int(99)]));
    send(&message("/elsewhere", vec![]));

    send(&message("/syrinx/transpose", vec![OscType::Float(-7.0)]));
    let sample = live.until("a transposition", |sample| sample["transpose"] == -7.0);
    assert_eq!(sample["refused_commands"], 9, "{sample}");
    let content = vec![
        message("/syrinx/slot/2", vec![OscType::Float(1.0)]),
        message("/syrinx/mix", vec![OscType::Float(0.5)]),
        message("/syrinx/mute", vec![]),
    ];
    send(&OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content }));
    let sample = live.until("the second slot", |sample| sample["slot"] == 2);
    assert_eq!((&sample["transpose"], &sample["mix"], &sample["mute"]), (&5.0.into(), &0.5.into(), &true.into()));
    send(&message("/syrinx/gate-threshold", vec![OscType::Float(-35.0)]));
    send(&message("/syrinx/gate", vec![OscType::Float(1.0)]));
    send(&message("/syrinx/ceiling/step", vec![OscType::Int(-2)]));
    send(&message("/syrinx/high-pass-cutoff", vec![OscType::Int(120)]));
    send(&message("/syrinx/high-pass", vec![]));
    let sample = live.until("a high-pass", |sample| sample["high_pass_hz"] == 120.0);
    assert_eq!((&sample["gate_db"], &sample["ceiling_db"]), (&(-35.0).into(), &(-3.0).into()));
    send(&message("/syrinx/mute", vec![OscType::Bool(false)]));
    send(&message("/syrinx/slot", vec![OscType::Int(1)]));
    let sample = live.until("the first slot", |sample| sample["slot"] == 1);
    assert_eq!(sample["transpose"], -7.0, "a slot keeps its own transposition");

    let (last, messages) = live.end();
    assert_eq!((&last["failed"], &last["commands"], &last["refused_commands"]), (&0.into(), &11.into(), &9.into()));
    let warnings = messages.iter().filter(|line| line.contains("ignored:")).count();
    assert_eq!(warnings, 1, "{messages:?}");
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn metrics_are_served_while_audio_runs() {
    let mut live = Running::start(&["--metrics", "127.0.0.1:0"]);
    let url = live.told_after("metrics are at http://");
    let address: SocketAddr = url.trim_end_matches("/metrics").parse().expect("an address");
    let sample = live.until("chunks", |sample| sample["chunks"].as_u64() >= Some(20));
    let answer = get(address, "/metrics");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics-text"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");

    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}\n{text}")).parse().expect("a number")
    };
    assert!(value("syrinx_chunks_total") >= sample["chunks"].as_f64().expect("a number"));
    assert_eq!(value("syrinx_chunk_seconds"), f64::from(50.0_f32) * 1e-3);
    assert_eq!(value("syrinx_failed_chunks_total"), 0.0);
    assert_eq!(value("syrinx_device_running"), 1.0);
    let parts: f64 = ["algorithmic", "processing", "device"]
        .map(|part| value(&format!("syrinx_latency_seconds{{part=\"{part}\"}}")))
        .iter()
        .sum();
    assert!((1e3 * parts - sample["delay_ms"].as_f64().expect("a number")).abs() < 1e-6, "{parts}");
    let synthesizer =
        |quantile| value(&format!("syrinx_stage_seconds{{stage=\"synthesizer\",quantile=\"{quantile}\"}}"));
    assert!(0.0 < synthesizer("0.5") && synthesizer("0.5") <= synthesizer("0.99"));
    for name in ["syrinx_rtf_ratio", "syrinx_xruns_total", "syrinx_shed_samples_total", "syrinx_f0_hertz"] {
        assert!(value(name) >= 0.0, "{name}");
    }
    assert!(value("syrinx_peak_dbfs{side=\"input\"}") <= 6.0);

    // Each name is explained, and told with its unit.
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    assert!(get(address, "/").starts_with("HTTP/1.1 404"));

    // A visitor who never finishes asking keeps no one.
    let mut slow = TcpStream::connect(address).expect("a connection");
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost:").expect("half a request");
    let (last, _) = live.end();
    assert_eq!(last["failed"], 0);
}

#[test]
fn an_address_that_is_taken_is_told_before_models_are_loaded() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = assert_cmd::Command::cargo_bin("syrinx").expect("the program");
    command.args(["live", "--host", "file", "--in", "i.wav", "--out", "o.wav", "--voice", "no such voice.pth"]);
    command.args(["--osc", &address]).assert().code(74).stderr(predicates::str::contains(format!("--osc {address}")));
}
