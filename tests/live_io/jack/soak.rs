//! Minutes of live conversion through a real server, in real time: `make soak`.

use std::time::{Duration, Instant};

use syrinx::io::live::DeviceState;
use syrinx::live::Session;

use super::jackd;
use super::probe::Player;
use super::voice::{assert_in_time, insert, settings, small_voice, speech};
use crate::server::{apart_for, wait_until};

/// Frames of the server's block.
const BLOCK: usize = 1024;
/// The time that a block lasts at 48 kHz.
const PERIOD: Duration = Duration::from_micros(1_000_000 * BLOCK as u64 / 48_000);
/// Time after which memory is first looked at: all caches are warm.
const WARM: Duration = Duration::from_secs(20);
/// Most memory that the rest may add.
const GROWTH_KIB: u64 = 2048;
const LONG: Duration = Duration::from_mins(1);

/// The variable with the number of minutes, ten without it.
const MINUTES: &str = "SYRINX_SOAK_MINUTES";

/// Memory of this process that is in use, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

#[test]
#[ignore = "takes ten minutes: `make soak`"]
fn minutes_of_speech_are_converted_with_nothing_late_and_memory_as_before() {
    let minutes: f64 = std::env::var(MINUTES).map_or(10.0, |text| text.parse().expect("a number of minutes"));
    let lasts = Duration::from_secs_f64(60.0 * minutes).max(2 * WARM);
    apart_for(
        lasts + 2 * LONG,
        "jack::soak::minutes_of_speech_are_converted_with_nothing_late_and_memory_as_before",
        &[("JACK_DEFAULT_SERVER", "syrinx-soak")],
        || {
            let _server = jackd(BLOCK);
            let mut jack = insert();
            jack.play = vec!["system:playback_1".into()];
            let mut session = Session::start(Box::new(jack), small_voice(), &settings()).expect("a session");
            let player = Player::start_over_and_over(speech());
            player.go();
            wait_until("speech is heard", LONG, || session.telemetry().output.peak > 0.01);
            let started = Instant::now();
            let mut first_kib = None;
            while started.elapsed() < lasts {
                while session.next_event().is_some() {}
                if first_kib.is_none() && started.elapsed() >= WARM {
                    first_kib = Some(resident_kib());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let (telemetry, first_kib, last_kib) =
                (session.telemetry(), first_kib.expect("long enough"), resident_kib());
            let worker = telemetry.worker;
            let (p50, p99) = (worker.rtf_of(worker.total_ms.p50), worker.rtf_of(worker.total_ms.p99));
            println!(
                "{:.1} minutes at {BLOCK} frames: {} chunks, RTF p50 {p50:.3} p99 {p99:.3} max {:.3}",
                started.elapsed().as_secs_f64() / 60.0,
                worker.chunks,
                worker.rtf_of(worker.total_ms.max)
            );
            println!(
                "starved {}, shed {}, overruns {}, failed {}; xruns that the server counted {}; longest callback {:?}",
                telemetry.link.starvation.times,
                worker.shed,
                worker.overruns,
                worker.failed,
                telemetry.device.xruns,
                telemetry.graph.longest
            );
            println!("memory {first_kib} KiB after {WARM:?}, {last_kib} KiB at the end");
            println!("the server stood still for more than a second {} times", telemetry.device.losses);
            // A server that stands still is none of our doing, unless our callback held it up.
            assert_eq!(telemetry.device.state, DeviceState::Running);
            assert!(telemetry.graph.longest < PERIOD, "{:?}", telemetry.graph.longest);
            assert_in_time(&telemetry);
            assert!(p99 < 0.8, "RTF p99 {p99}");
            assert!(last_kib < first_kib + GROWTH_KIB, "{first_kib} KiB, then {last_kib} KiB");
            assert!(session.stop().problem.is_none());
        },
    );
}
