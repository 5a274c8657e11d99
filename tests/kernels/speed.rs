//! What each kernel takes on a GPU, beside the least that any could take there.

mod networks;
mod witness;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytemuck::Pod;
use syrinx::Result;
use syrinx::cuda::ops::{
    CrepePath, Decoding, KERNELS, LogMelFrames, LogMelTables, Neighbours, SourceShape, SwiftF0Network, YinCandidates,
    crepe_smooth, envelope_mix, envelope_rms, harmonic_source, median, octave, pitch_shape, retrieval_blend,
    retrieval_nearest, salience, sola_join, sola_scores, yin,
};
use syrinx::cuda::{Buffer, Device, Launch, Machine, ModuleCache, Peaks, probe};
use syrinx::dsp::mel::{FilterBank, MelScale};
use syrinx::dsp::salience::bin_cents;
use syrinx::dsp::stft::Edge;
use syrinx::nn::crepe::PathSteps;
use syrinx::nn::swift_f0::embedded_weights;
use syrinx::path::join::fade_in;

use crate::host::{GPU, Host, Order};
use crate::noise::noise;
use crate::support::voice;
use witness::Witness;

/// What is launched together, and the least that it costs: what the formulas in the kernels' sources ask for.
struct Case<M> {
    /// In the order of their launches.
    kernels: Vec<&'static str>,
    sizes: String,
    /// Each input read and each output written, once.
    bytes: usize,
    /// Additions, multiplications and functions, each as one.
    flops: usize,
    launch: GiveTo<M>,
}

type GiveTo<M> = Box<dyn Fn(&M) -> Result<()>>;

/// How much there is to do.
#[derive(Clone, Copy)]
struct Sizes {
    /// Audio, and pitch at 100 hops a second.
    hops: usize,
    /// Rows of the index; units that are searched for.
    rows: usize,
    units: usize,
    /// Blocks that search.
    blocks: usize,
}

const RATE_HZ: usize = 16_000;
const BINS: usize = 360;
const BANDS: usize = 128;
const DIM: usize = 768;
const NEIGHBOURS: usize = 8;

fn f32s<M: Machine>(machine: &M, values: &[f32]) -> Result<Buffer<M, f32>> {
    Buffer::new(machine, values)
}

fn zeros<M: Machine, T: Pod>(machine: &M, len: usize) -> Result<RefCell<Buffer<M, T>>> {
    Buffer::zeros(machine, len).map(RefCell::new)
}

/// Hz of each hop, some of them unvoiced, some an octave off.
fn track(hops: usize) -> Vec<f32> {
    let hz = |value: f32| if value > 0.6 { 0.0 } else { 200.0 + 50.0 * value + if value < -0.9 { 200.0 } else { 0.0 } };
    noise(1, hops).into_iter().map(hz).collect()
}

fn cases<M: Machine + 'static>(machine: &M, sizes: Sizes) -> Result<Vec<Case<M>>> {
    let groups =
        [pitch_networks(machine, sizes)?, tracks(machine, sizes)?, voices(machine, sizes)?, units(machine, sizes)?];
    Ok(groups.into_iter().flatten().collect())
}

/// What reads pitch off audio, and what goes before.
fn pitch_networks<M: Machine + 'static>(machine: &M, Sizes { hops, .. }: Sizes) -> Result<Vec<Case<M>>> {
    let (samples, frames) = (160 * hops, hops + 1);
    let audio = || f32s(machine, &voice(1, samples));
    let bank = FilterBank::mel(MelScale::Htk, RATE_HZ as u32, 1024, BANDS, [30.0, 8000.0]);
    let (tables, heard, mel) =
        (LogMelTables::new(machine, &bank, 0.0, 1e-5)?, audio()?, zeros(machine, frames * BANDS)?);
    let at = LogMelFrames { before: 512, edge: Edge::Reflect, computed: frames };
    let log_mel = Case {
        kernels: vec!["log_mel"],
        sizes: format!("{frames} frames"),
        bytes: 4 * (samples + frames * BANDS),
        // The window; 5 n log2 n of half as many complex points; 10 to part and weigh each bin; two bands per bin.
        flops: frames * (1024 + 5 * 512 * 9 + 513 * (10 + 4) + BANDS),
        launch: Box::new(move |machine: &M| tables.log_mel(machine, &heard, at, &mut mel.borrow_mut())),
    };

    let (heard, found) = (audio()?, RefCell::new(YinCandidates::new(machine, frames)?));
    let yin = Case {
        kernels: vec!["yin"],
        sizes: format!("{frames} frames"),
        bytes: 4 * (samples + frames * (321 + 1 + 3 * 12)),
        // Two differences squared and summed, of 384 samples at 320 lags.
        flops: frames * 384 * 320 * 6,
        launch: Box::new(move |machine: &M| yin(machine, &heard, &mut found.borrow_mut())),
    };

    let network = SwiftF0Network::load(machine, &embedded_weights()?.weights())?;
    let (heard, frames) = (audio()?, SwiftF0Network::<M>::frames(samples));
    let scratch = zeros(machine, SwiftF0Network::<M>::scratch_len(frames))?;
    let (f0_hz, confidence) = (zeros(machine, frames)?, zeros(machine, frames)?);
    // Stem, six blocks of two layers, reduction, evidence; each weight once per band.
    let weights = 12 * 3 * 9 + 2 * 144 * (21 + 7 + 5 + 3 + 3 + 21) + 4 * 12 * 9 + 4 * 4 * 5;
    let swift_f0 = Case {
        kernels: vec!["swift_f0"],
        sizes: format!("{frames} frames"),
        bytes: 4 * (samples + weights + 2 * frames),
        flops: frames * 2 * BANDS * weights,
        launch: Box::new(move |machine: &M| {
            let (mut scratch, mut f0_hz, mut confidence) =
                (scratch.borrow_mut(), f0_hz.borrow_mut(), confidence.borrow_mut());
            network.swift_f0(machine, &heard, &mut scratch, &mut f0_hz, &mut confidence)
        }),
    };
    Ok(vec![log_mel, yin, swift_f0])
}

/// What reads pitch off salience, and what is done to it.
fn tracks<M: Machine + 'static>(machine: &M, Sizes { hops, .. }: Sizes) -> Result<Vec<Case<M>>> {
    let sizes = format!("{hops} hops");
    let peaks: Vec<f32> = noise(3, hops * BINS).into_iter().map(|value| value * value).collect();
    let cents: Vec<f64> = (0..BINS).map(bin_cents).collect();
    let (read, cents) = (f32s(machine, &peaks)?, Buffer::new(machine, &cents)?);
    let (f0_hz, voicing) = (zeros(machine, hops)?, zeros(machine, hops)?);
    let salience = Case {
        kernels: vec!["salience"],
        sizes: sizes.clone(),
        bytes: 4 * hops * BINS + 8 * BINS + 8 * hops,
        flops: hops * (BINS + 4 * 9),
        launch: Box::new(move |machine: &M| {
            let (mut f0_hz, mut voicing) = (f0_hz.borrow_mut(), voicing.borrow_mut());
            salience(machine, &read, &cents, 0..BINS, Decoding::Cut(0.03), &mut f0_hz, &mut voicing)
        }),
    };

    let (path, read, bins) =
        (CrepePath::new(machine, BINS)?, f32s(machine, &peaks)?, PathSteps::new(BINS).totals.len());
    let scratch = zeros(machine, path.scratch_len(hops))?;
    let (f0_hz, periodicity) = (zeros(machine, hops)?, zeros(machine, hops)?);
    let crepe_path = Case {
        kernels: vec!["crepe_path"],
        sizes: sizes.clone(),
        // Where each bin's best path came from is written, and one of them per frame read again.
        bytes: hops * (4 * bins + 2 * bins + 2 + 8),
        // In 64 bits: 23 steps lead to a bin, each an addition and a comparison.
        flops: hops * bins * 2 * 23,
        launch: Box::new(move |machine: &M| {
            let (mut scratch, mut f0_hz) = (scratch.borrow_mut(), f0_hz.borrow_mut());
            path.crepe_path(machine, &read, &mut scratch, &mut f0_hz, &mut periodicity.borrow_mut())
        }),
    };

    let (found, sure) = (f32s(machine, &track(hops))?, f32s(machine, &peaks[..hops])?);
    let (smooth_hz, voicing) = (zeros(machine, hops)?, zeros(machine, hops)?);
    let crepe_smooth = Case {
        kernels: vec!["crepe_smooth"],
        sizes: sizes.clone(),
        bytes: 16 * hops,
        flops: 6 * hops,
        launch: Box::new(move |machine: &M| {
            let (mut smooth_hz, mut voicing) = (smooth_hz.borrow_mut(), voicing.borrow_mut());
            crepe_smooth(machine, &found, &sure, 0.1, &mut smooth_hz, &mut voicing)
        }),
    };

    let (found, repaired) = (f32s(machine, &track(hops))?, zeros(machine, hops)?);
    let octave = Case {
        kernels: vec!["octave"],
        sizes: sizes.clone(),
        bytes: 8 * hops,
        flops: 4 * hops,
        launch: Box::new(move |machine: &M| octave(machine, &found, &mut repaired.borrow_mut())),
    };

    let (found, filtered) = (f32s(machine, &track(hops))?, zeros(machine, hops)?);
    let median = Case {
        kernels: vec!["median"],
        sizes: sizes.clone(),
        bytes: 8 * hops,
        // Each of seven compared with each.
        flops: 49 * hops,
        launch: Box::new(move |machine: &M| median(machine, &found, 7, &mut filtered.borrow_mut())),
    };

    let (found, shaped, coarse) = (f32s(machine, &track(hops))?, zeros(machine, hops)?, zeros(machine, hops)?);
    let pitch_shape = Case {
        kernels: vec!["pitch_shape"],
        sizes,
        bytes: 9 * hops,
        flops: 8 * hops,
        launch: Box::new(move |machine: &M| {
            pitch_shape(machine, &found, 1.5, true, &mut shaped.borrow_mut(), &mut coarse.borrow_mut())
        }),
    };
    Ok(vec![salience, crepe_path, crepe_smooth, octave, median, pitch_shape])
}

/// What shapes and joins a voice of 40 kHz.
fn voices<M: Machine + 'static>(machine: &M, Sizes { hops, .. }: Sizes) -> Result<Vec<Case<M>>> {
    let samples = 400 * hops;
    let shape = SourceShape { hop: 400, rate_hz: 40_000, gain: 1.0, offset: 0.0 };
    let (pitch, drawn) = (f32s(machine, &track(hops))?, f32s(machine, &noise(4, samples))?);
    let (before, after, source) = (Buffer::new(machine, &[0.25])?, zeros(machine, 1)?, zeros(machine, samples)?);
    let harmonic_source = Case {
        kernels: vec!["harmonic_source"],
        sizes: format!("{hops} hops of 400"),
        bytes: 4 * (hops + 2 * samples),
        // Phase and its fraction, sine, noise, gain, hyperbolic tangent.
        flops: 10 * samples,
        launch: Box::new(move |machine: &M| {
            let (mut after, mut source) = (after.borrow_mut(), source.borrow_mut());
            harmonic_source(machine, &pitch, shape, Some(&drawn), &before, &mut after, &mut source)
        }),
    };

    let (frame, hop) = (40_000, 20_000);
    let (audio, rms) = (f32s(machine, &noise(5, samples))?, zeros(machine, 1 + samples / hop)?);
    let envelope_rms = Case {
        kernels: vec!["envelope_rms"],
        sizes: format!("{samples} samples"),
        bytes: 4 * (samples + 1 + samples / hop),
        // Each sample lies in two windows.
        flops: 4 * samples,
        launch: Box::new(move |machine: &M| envelope_rms(machine, &audio, frame, hop, &mut rms.borrow_mut())),
    };

    let points = 1 + samples / hop;
    let mixed = RefCell::new(f32s(machine, &noise(6, samples))?);
    let (wanted, present) = (f32s(machine, &vec![0.5; points])?, f32s(machine, &vec![0.5; points])?);
    let envelope_mix = Case {
        kernels: vec!["envelope_mix"],
        sizes: format!("{samples} samples"),
        bytes: 8 * samples + 8 * points,
        // Two places between points, two powers.
        flops: 12 * samples,
        launch: Box::new(move |machine: &M| envelope_mix(machine, &mut mixed.borrow_mut(), &wanted, &present, 0.25)),
    };

    // 40 ms of overlap and 10 ms of search.
    let (fade, shifts) = (1_600, 401);
    let rendered = || f32s(machine, &noise(7, samples + fade + shifts - 1));
    let (heard, tail, scores) = (rendered()?, f32s(machine, &noise(8, fade))?, zeros(machine, shifts)?);
    let sola_scores = Case {
        kernels: vec!["sola_scores"],
        sizes: format!("{shifts} shifts of {fade}"),
        bytes: 4 * (fade + shifts + fade + shifts),
        flops: 4 * fade * shifts,
        launch: Box::new(move |machine: &M| sola_scores(machine, &heard, &tail, &mut scores.borrow_mut())),
    };

    let (heard, known) = (rendered()?, f32s(machine, &noise(9, shifts))?);
    let (fading, tail) = (f32s(machine, &fade_in(fade))?, f32s(machine, &noise(8, fade))?);
    let (output, next_tail, shift) = (zeros(machine, samples)?, zeros(machine, fade)?, zeros(machine, 1)?);
    let sola_join = Case {
        kernels: vec!["sola_join"],
        sizes: format!("{samples} samples"),
        bytes: 4 * (2 * samples + shifts + 4 * fade),
        flops: shifts + 3 * fade,
        launch: Box::new(move |machine: &M| {
            let (mut output, mut next_tail) = (output.borrow_mut(), next_tail.borrow_mut());
            let shift = &mut shift.borrow_mut();
            sola_join(machine, &heard, &known, &fading, &tail, &mut output, &mut next_tail, shift)
        }),
    };
    Ok(vec![harmonic_source, envelope_rms, envelope_mix, sola_scores, sola_join])
}

/// Retrieval.
fn units<M: Machine + 'static>(machine: &M, sizes: Sizes) -> Result<Vec<Case<M>>> {
    let Sizes { rows: count, units: queries, blocks, .. } = sizes;
    let rows = f32s(machine, &noise(10, count * DIM))?;
    let (units, found) = (f32s(machine, &noise(11, queries * DIM))?, Neighbours::new(machine, queries, count, blocks)?);
    let (found, told) = (RefCell::new(found), format!("{queries} units, {count} rows of {DIM}"));
    let (lists, width) = (queries * blocks * NEIGHBOURS * 8, queries * DIM * 4);
    let retrieval_nearest_case = Case {
        kernels: vec!["retrieval_nearest"],
        sizes: told.clone(),
        bytes: 4 * count * DIM + width + lists,
        flops: 3 * count * DIM * queries,
        launch: Box::new(move |machine: &M| retrieval_nearest(machine, &rows, &units, DIM, &mut found.borrow_mut())),
    };

    let rows = f32s(machine, &noise(10, count * DIM))?;
    let mut found = Neighbours::new(machine, queries, count, blocks)?;
    let units = RefCell::new(f32s(machine, &noise(11, queries * DIM))?);
    retrieval_nearest(machine, &rows, &units.borrow(), DIM, &mut found)?;
    let found = RefCell::new(found);
    let retrieval_blend_case = Case {
        kernels: vec!["retrieval_blend"],
        sizes: told,
        bytes: lists + (NEIGHBOURS + 2) * width,
        flops: 2 * (NEIGHBOURS + 1) * DIM * queries,
        launch: Box::new(move |machine: &M| {
            // By nothing, so that units stay what they are.
            retrieval_blend(machine, &rows, &mut units.borrow_mut(), DIM, 1e-9, &mut found.borrow_mut())
        }),
    };
    Ok(vec![retrieval_nearest_case, retrieval_blend_case])
}

/// Fails unless each case launches on `machine` what it names; gives all these names.
fn launched<N: Machine>(machine: &Witness<N>, cases: &[Case<Witness<N>>]) -> BTreeSet<&'static str> {
    for case in cases {
        machine.launched();
        (case.launch)(machine).expect("a launch");
        let names: Vec<&str> = machine.launched().iter().map(Launch::name).collect();
        assert_eq!(names, case.kernels, "{}", case.sizes);
        assert!(case.bytes > 0);
    }
    cases.iter().flat_map(|case| case.kernels.iter().copied()).collect()
}

#[test]
fn every_kernel_has_a_case_and_each_case_launches_what_it_names() {
    let machine = Arc::new(Witness::of(Arc::new(Host::new(Order::Forwards))));
    let mut all = cases(&*machine, Sizes { hops: 3, rows: 20, units: 2, blocks: 2 }).expect("memory");
    all.extend(networks::cases(&machine, &networks::Sizes::small()).expect("memory"));
    assert_eq!(launched(&machine, &all), KERNELS.iter().map(|kernel| kernel.name).collect());
}

/// What is launched depends on sizes alone, so that it is known without a GPU.
#[test]
fn networks_of_full_size_launch_what_their_cases_name() {
    let [full, small] = [networks::Sizes::full(), networks::Sizes::small()].map(|sizes| {
        let machine = Arc::new(Witness::idle(Arc::new(Host::new(Order::Forwards))));
        launched(&machine, &networks::cases(&machine, &sizes).expect("memory"))
    });
    assert_eq!(full, small);
}

impl<M> Case<M> {
    /// The least time, and what it is for.
    fn floor(&self, peaks: &Peaks) -> (f64, &'static str) {
        let by_tensor_cores = self.kernels.iter().any(|kernel| kernel.ends_with("_tf32"));
        let flops = if by_tensor_cores { peaks.tensor_flops } else { peaks.flops };
        let (moved, computed) = (self.bytes as f64 / peaks.bytes_per_second, self.flops as f64 / flops);
        if moved > computed { (moved, "bytes") } else { (computed, "flops") }
    }

    /// The kernels' names; one that is launched again and again stands there once.
    fn names(&self) -> String {
        match &*self.kernels {
            [first, _, ..] if self.kernels.iter().all(|kernel| kernel == first) => {
                format!("{first}, {} times", self.kernels.len())
            }
            kernels => kernels.join(", "),
        }
    }
}

/// Times each kernel for a chunk of 100 ms and for a minute, and the networks' for what they take at once.
#[test]
fn on_a_gpu_beside_the_least_it_could_take() {
    let Ok(number) = std::env::var(GPU) else {
        eprintln!("left out: {GPU} names no GPU");
        return;
    };
    let number = number.parse().expect("a number");
    let device = Arc::new(Device::open(number, ModuleCache::at(std::env::temp_dir())).expect("a GPU"));
    let peaks = probe::peaks(number).expect("figures");
    println!(
        "{}: {} multiprocessors, {:.1} TFLOP/s, {:.1} by tensor cores, {:.0} GB/s, second-level cache of {:.0} MB: what its \
         driver tells",
        device.facts().name,
        peaks.processors,
        peaks.flops * 1e-12,
        peaks.tensor_flops * 1e-12,
        peaks.bytes_per_second * 1e-9,
        peaks.l2_bytes as f64 * 1e-6,
    );
    println!("| kernels | sizes | GPU, us | until launched, us | floor, us | of | times the floor |");
    println!("|---|---|---:|---:|---:|---|---:|");
    let blocks = 4 * peaks.processors;
    for (hops, rows, units) in [(10, 20_000, 10), (6_000, 200_000, 64)] {
        let cases = cases(&*device, Sizes { hops, rows, units, blocks }).expect("memory");
        cases.iter().for_each(|case| time(&device, &peaks, case));
    }
    let cases = networks::cases(&device, &networks::Sizes::full()).expect("memory");
    cases.iter().for_each(|case| time(&device, &peaks, case));
}

/// Tells what a case takes.
fn time(device: &Device, peaks: &Peaks, case: &Case<Device>) {
    /// Launches in a row, no more than a stream takes in before it begins, and how often: the fastest row counts.
    const LAUNCHES: usize = 100;
    const ROWS: usize = 7;
    let times = (LAUNCHES / case.kernels.len()).max(1);
    let give = || (0..times).try_for_each(|_| (case.launch)(device));
    // The first compiles and loads.
    device.seconds_of(|| Ok(())).and_then(|_| (case.launch)(device)).expect("a launch");
    let seconds = (0..ROWS).map(|_| device.seconds_of(give).expect("launches")).fold(f64::MAX, f64::min);
    let began = Instant::now();
    give().expect("launches");
    let launched = began.elapsed().as_secs_f64();
    let micros = |seconds: f64| seconds * 1e6 / times as f64;
    let (least, of) = case.floor(peaks);
    println!(
        "| {} | {} | {:.2} | {:.2} | {:.3} | {of} | {:.1} |",
        case.names(),
        case.sizes,
        micros(seconds),
        micros(launched),
        least * 1e6,
        micros(seconds) / (least * 1e6)
    );
    assert!(seconds.is_finite() && micros(seconds) > 0.0);
}
