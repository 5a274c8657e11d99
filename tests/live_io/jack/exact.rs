//! Every bit, at the sample that was told.

use std::time::{Duration, Instant};

use jack::LatencyType;
use syrinx::io::live::{Backend, DeviceEvent, DeviceState, Jack, RunningDevice};

use super::jackd;
use super::probe::{Listener, Player};
use crate::server::{apart, wait_until};
use crate::support::{Control, noise, through_a_worker};

/// Samples that the worker has to answer.
const LEAD: usize = 4800;
const LONG: Duration = Duration::from_mins(1);

fn insert() -> Jack {
    Jack {
        client: "insert".into(),
        outputs: vec!["out".into()],
        capture: vec!["player:out".into()],
        play: vec!["listener:.*".into()],
        ..Jack::default()
    }
}

/// A running insert between a player and a listener, whose ports it finds by pattern.
fn inserted() -> (Control, RunningDevice) {
    let device = insert().open().expect("a server");
    assert_eq!((device.format().rate_hz, device.format().inputs, device.format().outputs), (48_000, 1, 1));
    let (control, processor) = through_a_worker(device.format(), LEAD);
    (control, device.start(processor))
}

#[test]
fn half_a_minute_passes_bit_for_bit_in_freewheel_at_the_latency_that_the_ports_report() {
    apart(
        "jack::exact::half_a_minute_passes_bit_for_bit_in_freewheel_at_the_latency_that_the_ports_report",
        &[("JACK_DEFAULT_SERVER", "syrinx-exact")],
        || {
            let _server = jackd(256);
            let played = noise(7, 30 * 48_000);
            let (control, device) = inserted();
            // Its neighbours come later than the insert.
            let player = Player::start(played.clone());
            let listener = Listener::start(played.len() + 20 * 48_000);
            let latency = control.latency_samples as u32;
            assert_eq!(latency, 4800 + 72);
            let told = |port, direction| player.latency(port, direction) == (latency, latency);
            wait_until("the ports report the graph's latency both ways", LONG, || {
                listener.is_connected()
                    && told("listener:in", LatencyType::Capture)
                    && told("player:out", LatencyType::Playback)
            });
            player.freewheel(true);
            wait_until("the device freewheels", LONG, || device.telemetry().freewheel);
            let (start, before) = (Instant::now(), listener.count());
            player.go();
            wait_until("all is recorded", LONG, || listener.count() > before + played.len() + 2 * LEAD);
            let took = start.elapsed();
            player.freewheel(false);
            wait_until("the clock is back", LONG, || !device.telemetry().freewheel);

            let (began_playing, (began_recording, recorded)) = (player.stop(), listener.stop());
            let lead_in = began_playing.wrapping_sub(began_recording) as usize;
            // Measured by the sound alone, then compared with what was told.
            let first = recorded.iter().position(|&x| x == played[0]).expect("the first sample");
            assert_eq!(first - lead_in, latency as usize);
            assert!(recorded[..first].iter().all(|&x| x == 0.0));
            assert_eq!(recorded[first..first + played.len()], played[..]);
            let telemetry = device.telemetry();
            assert_eq!((telemetry.losses, telemetry.graph_latency_samples), (0, latency as usize));
            println!("30 s in {took:?}, {} samples exact, latency {}", played.len(), first - lead_in);
            let events: Vec<DeviceEvent> = std::iter::from_fn(|| device.next_event()).collect();
            assert!(events.contains(&DeviceEvent::Freewheel(true)) && events.contains(&DeviceEvent::Freewheel(false)));
            assert!(device.stop().processor.is_some());
        },
    );
}

#[test]
fn a_block_that_the_server_changes_changes_no_bit() {
    apart(
        "jack::exact::a_block_that_the_server_changes_changes_no_bit",
        &[("JACK_DEFAULT_SERVER", "syrinx-block")],
        || {
            let _server = jackd(256);
            let played = noise(8, 6 * 48_000);
            let player = Player::start(played.clone());
            let listener = Listener::start(60 * 48_000);
            let (control, device) = inserted();
            wait_until("the insert is connected", LONG, || listener.is_connected());
            assert_eq!(device.telemetry().block_frames, 256);
            player.go();
            for frames in [1024, 64, 512] {
                let before = listener.count();
                player.set_block(frames);
                wait_until("the new block is told", LONG, || device.telemetry().block_frames == frames as usize);
                wait_until("it is used", LONG, || listener.count() > before + 24_000);
            }
            wait_until("all is recorded", LONG, || listener.count() > played.len() + 4 * LEAD);
            let told: Vec<usize> = std::iter::from_fn(|| device.next_event())
                .filter_map(|event| if let DeviceEvent::BlockChanged { frames } = event { Some(frames) } else { None })
                .collect();
            assert_eq!(told, [1024, 64, 512]);
            let telemetry = device.telemetry();
            assert_eq!((telemetry.block_changes, telemetry.losses, telemetry.state), (3, 0, DeviceState::Running));
            let (_, recorded) = listener.stop();
            let first = recorded.iter().position(|&x| x == played[0]).expect("the first sample");
            assert_eq!(recorded[first..first + played.len()], played[..]);
            drop((control, device, player));
        },
    );
}
