//! Servers that are absent, hang, die and return.

use std::time::{Duration, Instant};

use syrinx::Error;
use syrinx::io::live::jack::devices;
use syrinx::io::live::{Backend, DeviceEvent, DeviceState, Jack, RunningDevice};

use super::jackd;
use crate::server::{apart, wait_until};
use crate::support::{Control, limited};

const LONG: Duration = Duration::from_secs(30);

fn running() -> (Control, RunningDevice) {
    let device = Jack::default().open().expect("a server");
    let (control, processor) = limited(device.format());
    let device = device.start(processor);
    wait_until("it calls back", LONG, || device.telemetry().callbacks > 10);
    (control, device)
}

#[test]
fn an_absent_server_is_an_error_within_a_second() {
    apart(
        "jack::chaos::an_absent_server_is_an_error_within_a_second",
        &[("JACK_DEFAULT_SERVER", "syrinx-absent")],
        || {
            let start = Instant::now();
            let error = Jack::default().open().err().expect("no server");
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            assert!(matches!(error, Error::Device { .. }) && error.exit_code() == 69);
            assert!(error.to_string().starts_with("JACK server `syrinx-absent`: is not running"), "{error}");
        },
    );
}

#[test]
fn names_that_jack_cannot_take_are_refused_without_a_server() {
    for wrong in [
        Jack { client: String::new(), ..Jack::default() },
        Jack { inputs: vec!["a\0b".into()], ..Jack::default() },
        Jack { outputs: vec!["x".into(); 65], ..Jack::default() },
    ] {
        let mut wrong = wrong;
        assert!(matches!(wrong.open(), Err(Error::Argument { .. })));
    }
}

#[test]
fn a_server_lists_its_physical_ports_as_a_device() {
    apart(
        "jack::chaos::a_server_lists_its_physical_ports_as_a_device",
        &[("JACK_DEFAULT_SERVER", "syrinx-list")],
        || {
            let _server = jackd(512);
            let host = devices();
            let [system] = &host.devices[..] else { panic!("{host:?}") };
            assert_eq!((&*system.host, &*system.name), ("jack", "system"));
            for direction in [&system.input, &system.output] {
                let direction = direction.as_ref().expect("both directions");
                assert_eq!((direction.channels, direction.default_rate_hz, direction.default), (2, 48_000, true));
                assert_eq!(direction.block_frames, Some([512, 512]));
                assert!(direction.latency_samples.is_some_and(|latency| latency >= 512), "{direction:?}");
            }
        },
    );
}

#[test]
fn a_server_that_is_killed_and_restarted_finds_its_client_back() {
    apart(
        "jack::chaos::a_server_that_is_killed_and_restarted_finds_its_client_back",
        &[("JACK_DEFAULT_SERVER", "syrinx-killed")],
        || {
            let mut server = jackd(1024);
            let (mut control, device) = running();
            for round in 1..=2 {
                server.kill();
                assert!(device.wait_for(DeviceState::Lost, LONG));
                // The graph goes on meanwhile.
                let before = control.handle.telemetry().frames;
                wait_until("silence in its place", LONG, || control.handle.telemetry().frames > before + 24_000);
                server = jackd(1024);
                assert!(device.wait_for(DeviceState::Running, LONG));
                let callbacks = device.telemetry().callbacks;
                wait_until("it calls back again", LONG, || device.telemetry().callbacks > callbacks + 10);
                let telemetry = device.telemetry();
                assert_eq!((telemetry.losses, telemetry.returns), (round, round));
                assert!(telemetry.standby_frames > 24_000);
            }
            let events: Vec<DeviceEvent> = std::iter::from_fn(|| device.next_event()).collect();
            let lost = DeviceEvent::Lost { reason: "the JACK server is gone".into() };
            assert!(events.contains(&lost), "{events:?}");
            assert!(events.iter().any(|event| matches!(event, DeviceEvent::Returned { .. })), "{events:?}");
            assert!(device.stop().processor.is_some());
            drop(server);
        },
    );
}

#[test]
fn a_server_that_hangs_hangs_neither_opening_nor_listing() {
    apart(
        "jack::chaos::a_server_that_hangs_hangs_neither_opening_nor_listing",
        &[("JACK_DEFAULT_SERVER", "syrinx-hung")],
        || {
            let server = jackd(1024);
            server.signal("STOP");
            let start = Instant::now();
            let error = Jack::default().open().err().expect("a hung server");
            assert!(error.to_string().contains("does not answer"), "{error}");
            assert!(devices().problem.is_some());
            assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
            server.signal("CONT");
            wait_until("it can be opened", LONG, || Jack::default().open().is_ok());
        },
    );
}

#[test]
fn a_server_that_hangs_while_running_is_lost_and_found_and_can_be_left() {
    apart(
        "jack::chaos::a_server_that_hangs_while_running_is_lost_and_found_and_can_be_left",
        &[("JACK_DEFAULT_SERVER", "syrinx-stalled")],
        || {
            let server = jackd(1024);
            let (mut control, device) = running();
            server.signal("STOP");
            assert!(device.wait_for(DeviceState::Lost, LONG));
            let before = control.handle.telemetry().frames;
            wait_until("silence in its place", LONG, || control.handle.telemetry().frames > before + 24_000);
            server.signal("CONT");
            assert!(device.wait_for(DeviceState::Running, LONG));
            let callbacks = device.telemetry().callbacks;
            wait_until("it calls back again", LONG, || device.telemetry().callbacks > callbacks + 10);

            server.signal("STOP");
            assert!(device.wait_for(DeviceState::Lost, LONG));
            let start = Instant::now();
            let stopped = device.stop();
            assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
            assert!(stopped.processor.is_some());
            assert_eq!((stopped.telemetry.losses, stopped.telemetry.returns), (2, 1));
        },
    );
}
