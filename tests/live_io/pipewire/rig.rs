//! A private PipeWire with WirePlumber, its PulseAudio server, and null sinks as sound cards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use syrinx::io::live::{Choice, SoundCard};

use crate::server::{Server, apart, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// Runs `body` in a process of its own whose environment leads to a PipeWire of its own, not started yet.
pub fn with_environment(name: &str, body: impl FnOnce()) {
    // Short, since sockets' paths are.
    let folder = tempfile::Builder::new().prefix("pw").tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    let (bus, pulse) = (format!("unix:path={path}/bus"), format!("unix:{path}/pulse/native"));
    let environment = [
        ("XDG_RUNTIME_DIR", path),
        ("PIPEWIRE_RUNTIME_DIR", path),
        ("HOME", path),
        ("PULSE_SERVER", &pulse),
        ("DBUS_SESSION_BUS_ADDRESS", &bus),
    ];
    apart(name, &environment, body);
}

/// The folder of this process's PipeWire.
pub fn folder() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").expect("the rig sets it").into()
}

/// What PipeWire and its PulseAudio server write into the folder.
const LOGS: [&str; 2] = ["pipewire.log", "pulse.log"];
/// At this level they tell of every lost cycle.
const LOG_LEVEL: (&str, &str) = ("PIPEWIRE_DEBUG", "3");

/// Servers that run. Dropping it ends them.
pub struct Rig {
    servers: [Server; 4],
}

impl Rig {
    /// Starts everything, with a sink `M` of four channels and blocks of `frames`.
    pub fn start(frames: u32) -> Self {
        let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").expect("the rig sets it");
        let exists = |name: &str| folder().join(name).exists();
        for name in ["bus", "pipewire-0", "pulse/native"] {
            // A server that was killed leaves its socket.
            let _ = std::fs::remove_file(folder().join(name));
        }
        let bus = Server::start("dbus-daemon", &["--session", "--nofork", "--nopidfile", "--address", &address]);
        wait_until("the bus", LONG, || exists("bus"));
        let [pipewire_log, pulse_log] = LOGS.map(|name| folder().join(name));
        let pipewire = Server::start_telling("pipewire", &[], LOG_LEVEL, &pipewire_log);
        wait_until("PipeWire", LONG, || exists("pipewire-0"));
        let session = Server::start("wireplumber", &[]);
        let pulse = Server::start_telling("pipewire-pulse", &[], LOG_LEVEL, &pulse_log);
        wait_until("PipeWire's PulseAudio", LONG, || succeeds("pactl", &["info"]));
        let rig = Self { servers: [pulse, session, pipewire, bus] };
        plug("M", 4);
        assert!(succeeds("pw-metadata", &["-n", "settings", "0", "clock.force-quantum", &frames.to_string()]));
        rig
    }

    /// Kills them all.
    pub fn kill(self) {
        self.servers.into_iter().for_each(Server::kill);
    }
}

/// Adds a sink, and returns a handle to remove it.
pub fn plug(name: &str, channels: usize) -> String {
    let map = ["front-left", "front-right", "rear-left", "rear-right"][..channels].join(",");
    let arguments = [
        "load-module",
        "module-null-sink",
        &format!("sink_name={name}"),
        &format!("channels={channels}"),
        "rate=48000",
        &format!("channel_map={map}"),
    ];
    let output = Command::new("pactl").args(arguments).output().expect("pactl");
    assert!(output.status.success(), "{output:?}");
    let listed = || Command::new("pactl").args(["list", "short", "sinks"]).output().expect("pactl").stdout;
    wait_until("the sink", LONG, || {
        let listed = String::from_utf8_lossy(&listed()).into_owned();
        listed.lines().any(|line| line.split('\t').nth(1) == Some(name))
    });
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Removes a sink.
pub fn unplug(handle: &str) {
    assert!(succeeds("pactl", &["unload-module", handle]));
}

/// Makes a sink the default.
pub fn prefer(name: &str) {
    assert!(succeeds("pactl", &["set-default-sink", name]));
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Cycles that PipeWire says it or one of its clients has lost so far.
pub fn lost_cycles() -> usize {
    let told =
        |line: &str| ["XRun!", "too slow", "missed", "underrun", "overrun"].iter().any(|word| line.contains(word));
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).expect("a log");
    LOGS.iter().map(|name| read(name).lines().filter(|line| told(line)).count()).sum()
}

/// Captures the first channel of `M`, plays on its third.
pub fn card(frames: u32) -> SoundCard {
    SoundCard {
        host: Some("pipewire".into()),
        input: Choice::Named("M".into()),
        output: Choice::Named("M".into()),
        rate_hz: Some(48_000),
        block_frames: Some(frames),
        input_channels: vec![0],
        output_channels: vec![2],
    }
}

/// Plays four interleaved channels on `M` to the end.
pub fn play(path: &Path) {
    let status = Command::new("pacat").args(["--playback", "-d", "M"]).args(FORMAT).arg(path).status();
    assert!(status.expect("pacat").success());
}

/// Records the four channels of `M` until it is dropped.
pub fn record(path: &Path) -> Server {
    let path = path.to_str().expect("a plain path");
    let arguments = [&["--record", "-d", "M.monitor"][..], &FORMAT, &[path]].concat();
    Server::start("pacat", &arguments)
}

const FORMAT: [&str; 6] = [
    "--raw",
    "--latency-msec=50",
    "--rate=48000",
    "--channels=4",
    "--channel-map=front-left,front-right,rear-left,rear-right",
    "--format=float32le",
];
