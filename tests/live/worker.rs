//! The worker: every sample at its moment, whatever its converter does.

use std::sync::mpsc::{Receiver, Sender, channel};

use syrinx::error::{Error, Result};
use syrinx::live::ChunkConverter;
use syrinx::params::ConversionParams;
use syrinx::path::stream::ChunkReport;
use syrinx::rt::events::Event;

use crate::support::{Bench, RATE_HZ, tone};

/// Converts by a gain, which is its voice; does as it is told before each chunk.
struct Scripted {
    chunk: usize,
    gain: f32,
    orders: Receiver<Order>,
    resets: Sender<()>,
}

enum Order {
    Convert,
    Refuse,
    Panic,
}

impl ChunkConverter for Scripted {
    type Voice = f32;

    fn chunk_samples(&self) -> usize {
        self.chunk
    }

    fn step(&mut self, chunk: &[f32], _: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport> {
        match self.orders.recv().unwrap_or(Order::Convert) {
            Order::Convert => {}
            Order::Refuse => return Err(Error::argument("chunk", "another", "this")),
            Order::Panic => panic!("ordered"),
        }
        output.iter_mut().zip(chunk).for_each(|(out, value)| *out = value * self.gain);
        Ok(ChunkReport::default())
    }

    fn skip(&mut self, _: &[f32], output: &mut [f32]) -> Result<ChunkReport> {
        output.fill(0.0);
        Ok(ChunkReport::default())
    }

    fn replace(&mut self, voice: f32, _: &ConversionParams) -> f32 {
        std::mem::replace(&mut self.gain, voice)
    }

    fn reset(&mut self) {
        self.resets.send(()).expect("the test listens");
    }
}

/// A scripted converter of `chunk` samples, its orders, and its resets.
fn scripted(chunk: usize) -> (Scripted, Sender<Order>, Receiver<()>) {
    let (orders_tx, orders) = channel();
    let (resets, resets_rx) = channel();
    (Scripted { chunk, gain: 1.0, orders, resets }, orders_tx, resets_rx)
}

#[test]
fn what_passes_through_is_bit_exact_and_as_late_as_reported() {
    for (chunk, block) in [(480, 480), (480, 64), (960, 1024), (777, 333), (12_000, 512), (1, 17)] {
        let (converter, orders, _resets) = scripted(chunk);
        drop(orders);
        let mut bench = Bench::new(converter, 0, 2 * chunk + block, ConversionParams::default());
        bench.freewheel(true);
        for start in (0..RATE_HZ as usize).step_by(block) {
            bench.block(&tone(start, block));
        }
        assert_eq!(bench.played.len(), bench.captured.len());
        assert!(bench.played[..bench.latency].iter().all(|&value| value == 0.0));
        let heard = &bench.played[bench.latency..];
        assert!(heard == &bench.captured[..heard.len()], "chunk {chunk}, block {block}");
    }
}

/// Gives the worker time to do all it can, without a clock that the result depends on.
fn until(mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed().as_secs() < 30, "the worker stands still");
        std::thread::yield_now();
    }
}

#[test]
fn after_a_load_the_oldest_audio_is_left_out_and_the_delay_is_as_before() {
    const CHUNK: usize = 480;
    let (converter, orders, _resets) = scripted(CHUNK);
    let mut bench = Bench::new(converter, 0, 3 * CHUNK, ConversionParams::default());
    let mut chunks = 0;
    let mut feed = |bench: &mut Bench<Scripted>, count: usize, in_time: bool| {
        for _ in 0..count {
            bench.block(&tone(chunks * CHUNK, CHUNK));
            chunks += 1;
            if in_time {
                orders.send(Order::Convert).unwrap();
                let all = chunks as u64;
                until(|| bench.worker.telemetry().chunks == all);
            }
        }
    };
    feed(&mut bench, 10, true);
    // Chunk 10 takes forty chunks' time.
    feed(&mut bench, 40, false);
    (0..40).for_each(|_| orders.send(Order::Convert).unwrap());
    until(|| bench.worker.telemetry().chunks == 50);
    let shed = bench.worker.telemetry().shed;
    assert!((30..40).contains(&shed), "{shed} chunks left out");
    feed(&mut bench, 20, true);

    let delayed = |at: usize| bench.captured[at - bench.latency];
    let nominal_again = 51 * CHUNK;
    assert!((nominal_again..bench.played.len()).all(|at| bench.played[at] == delayed(at)));
    // What was heard meanwhile was heard at its moment or, faded, not at all.
    assert!((bench.latency..nominal_again).all(|at| bench.played[at].abs() <= 0.41));
    let steps = bench.played.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    assert!(steps.fold(0.0, f32::max) < 0.02, "a click");
    let happened: Vec<Event> = std::iter::from_fn(|| bench.events.next()).collect();
    assert!(happened.contains(&Event::Starved), "{happened:?}");
    assert!(happened.iter().any(|event| matches!(event, Event::Resumed(_))), "{happened:?}");
}

#[test]
fn a_chunk_that_panics_or_fails_is_silent_and_the_next_is_heard() {
    const CHUNK: usize = 960;
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"ordered") {
            eprintln!("{info}");
        }
    }));
    let (converter, orders, resets) = scripted(CHUNK);
    let mut bench = Bench::new(converter, 0, 2 * CHUNK, ConversionParams::default());
    bench.freewheel(true);
    for index in 0..12 {
        orders
            .send(match index {
                3 => Order::Panic,
                7 => Order::Refuse,
                _ => Order::Convert,
            })
            .unwrap();
        bench.block(&tone(index * CHUNK, CHUNK));
    }
    assert_eq!(resets.iter().take(2).count(), 2);
    for index in 0..10 {
        let heard = &bench.played[bench.latency + index * CHUNK..][..CHUNK];
        if index == 3 || index == 7 {
            assert!(heard.iter().all(|&value| value == 0.0), "chunk {index}");
        } else {
            assert!(heard == &bench.captured[index * CHUNK..][..CHUNK], "chunk {index}");
        }
    }
    assert_eq!(bench.worker.telemetry().failed, 2);
    let happened: Vec<Event> = std::iter::from_fn(|| bench.events.next()).collect();
    for event in [Event::ConverterPanicked, Event::ChunkRefused] {
        assert_eq!(happened.iter().filter(|other| **other == event).count(), 1, "{happened:?}");
    }
}

#[test]
fn another_voice_is_heard_from_a_chunk_on_and_numbers_that_are_none_are_silence() {
    const CHUNK: usize = 480;
    let (converter, orders, _resets) = scripted(CHUNK);
    drop(orders);
    let mut bench = Bench::new(converter, 0, 2 * CHUNK, ConversionParams::default());
    bench.freewheel(true);
    let mut input = vec![0.25; CHUNK];
    bench.block(&input);
    input[7] = f32::NAN;
    input[8] = f32::INFINITY;
    bench.block(&input);
    until(|| bench.worker.telemetry().chunks == 2);
    bench.worker.replace(-1.0, ConversionParams::default()).unwrap();
    (0..8).for_each(|_| bench.block(&[0.25; CHUNK]));
    assert_eq!(bench.worker.telemetry().non_finite_samples, 2);
    let heard = |chunk: usize| &bench.played[bench.latency + chunk * CHUNK..][..CHUNK];
    assert_eq!(heard(1)[6..10], [0.25, 0.0, 0.0, 0.25]);
    assert!(heard(2).iter().all(|&value| value == -0.25));
}

#[test]
fn a_worker_ends_when_itsgraph_is_gone_and_when_it_is_dropped() {
    let (converter, orders, _resets) = scripted(480);
    drop(orders);
    let Bench { graph, processor, mut worker, .. } = Bench::new(converter, 0, 960, ConversionParams::default());
    assert!(worker.is_running());
    drop((processor, graph));
    until(|| !worker.is_running());
    assert_eq!(worker.telemetry().chunks, 0);

    let (converter, orders, _resets) = scripted(480);
    drop(orders);
    drop(Bench::new(converter, 0, 960, ConversionParams::default()).worker);
}

/// Real-time priorities of this process's threads of this name, as the system tells them.
#[cfg(target_os = "linux")]
fn priorities_of(name: &str) -> Vec<u8> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    // Behind the name in brackets, the state is field 3; the real-time priority is field 40.
    let priority = |stat: String| {
        let (start, rest) = stat.rsplit_once(')')?;
        let is_named = start.split_once('(').is_some_and(|(_, found)| found == name);
        is_named.then(|| rest.split_whitespace().nth(37)?.parse().ok())?
    };
    stats.filter_map(priority).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_runs_next_below_the_audio_where_the_system_lets_it_and_tells() {
    use syrinx::io::live::priority::{Priority, ask_below};
    let granted = std::thread::spawn(|| ask_below(37)).join().unwrap();
    let (converter, orders, _resets) = scripted(480);
    drop(orders);
    let mut bench = Bench::new(converter, 0, 960, ConversionParams::default());
    bench.worker.run_below(0);
    bench.block(&[0.0; 480]);
    until(|| bench.worker.telemetry().chunks == 1);
    assert_eq!(bench.worker.telemetry().priority, Priority::Unknown);
    assert!(!priorities_of("converter").contains(&36));
    bench.worker.run_below(37);
    until(|| bench.worker.telemetry().priority != Priority::Unknown);
    assert_eq!(bench.worker.telemetry().priority, granted);
    assert_eq!(priorities_of("converter").contains(&36), granted == Priority::RealTime);
    assert_eq!(std::thread::spawn(|| ask_below(1)).join().unwrap(), Priority::Unknown);
}
