//! `syrinx convert`: recordings in, the same recordings in another voice out.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::conversion::{ModelArgs, ModelChoice, TrackerArgs, VoiceArgs};
use super::jobs::{self, Job};
use super::live::on_interrupt;
use super::plot;
use super::progress::Progress;
use super::report::{Failure, FileReport, Report, rtf, stage_reports};
#[cfg(feature = "cuda-kernels")]
use crate::cuda::trace::Graphs;
use crate::error::{Error, Result};
use crate::io::pitch_curve;
use crate::io::read::read;
use crate::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use crate::nn::Cpu;
#[cfg(feature = "cuda")]
use crate::nn::Cuda;
use crate::nn::ops::{Precision, VoiceOps};
use crate::params::{ConversionParams, Lengths, Unvoiced};
use crate::path::offline::{Conversion, Request};
use crate::path::window::WindowSizes;
use crate::place::Place;
use crate::telemetry::Listener;
use crate::units::{Recording, SAMPLE_RATES_HZ};

/// Converts recordings to another voice.
#[derive(Args, Clone, Debug)]
pub struct ConvertArgs {
    /// Recordings, or folders of them: wav, flac, mp3, ogg, m4a, aiff
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Output file (.wav or .flac), or folder for a folder or several inputs
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Overwrite outputs that exist (never an input)
    #[arg(long)]
    pub force: bool,
    /// Loudness: 0 follows the input, 1 is the voice's own
    #[arg(long, value_name = "X", default_value_t = 0.25)]
    rms_mix_rate: f32,
    #[command(flatten)]
    voice: VoiceArgs,
    #[command(flatten)]
    pitch_settings: PitchArgs,
    #[command(flatten)]
    model_settings: ModelArgs,
    #[command(flatten)]
    output_settings: OutputArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pitch")]
struct PitchArgs {
    #[command(flatten)]
    tracker: TrackerArgs,
    /// Pitch of unvoiced sounds: left at zero, or drawn between the neighbours
    #[arg(long, value_name = "RULE", default_value = "zero", conflicts_with = "reference")]
    unvoiced: UnvoicedRule,
    /// Pitch to use instead of the tracker's: lines of `seconds,hertz`
    #[arg(long, value_name = "CSV")]
    f0_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Container; without this, after the output's extension, and wav in a folder
    #[arg(long, value_name = "FORMAT")]
    format: Option<Container>,
    /// Sample depth
    #[arg(long, value_name = "BITS", default_value = "16")]
    bits: Bits,
    /// Sample rate in Hz; without this, the voice's own
    #[arg(long, value_name = "HZ")]
    output_rate: Option<u32>,
    /// Reproduce the reference exactly (lengths, truncation to 16 bits, unvoiced rule) of 2026 or before
    #[arg(long, value_name = "WHICH")]
    reference: Option<Reference>,
    /// Reproduce the reference's lengths: 0 to 20 ms shorter per window
    #[arg(long)]
    reference_lengths: bool,
    /// Write times, speed and memory as JSON
    #[arg(long, value_name = "JSON")]
    report: Option<PathBuf>,
    /// Draw waveforms, pitch and spectrograms; a folder for several inputs
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bits {
    #[value(name = "16")]
    Sixteen,
    #[value(name = "24")]
    TwentyFour,
    #[value(name = "32")]
    ThirtyTwo,
    /// 32-bit floating point
    Float,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnvoicedRule {
    Zero,
    Interpolate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reference {
    /// Since 2026: unvoiced pitch interpolated
    Head,
    /// 2023 to 2025: unvoiced pitch zero
    Classic,
}

/// A validated conversion: nothing of it needs to be checked again.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvertPlan {
    /// The files.
    pub jobs: Vec<Job>,
    /// How the samples of each are stored.
    pub format: SampleFormat,
    /// How they are rounded.
    pub quantise: Quantise,
    /// Voice, index, encoder and pitch tracker.
    pub models: ModelChoice,
    /// A pitch curve that replaces the tracker's.
    pub f0_file: Option<PathBuf>,
    /// Rate of the outputs, if not the voice's.
    pub output_rate_hz: Option<u32>,
    /// How to convert.
    pub params: ConversionParams,
    /// Whether the pitch of each recording is brought to the voice's own.
    pub fits_pitch: bool,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Where the figures go.
    pub plot: Option<PathBuf>,
}

impl ConvertPlan {
    /// Checks every argument, and the names of all files, before anything slow begins.
    ///
    /// # Errors
    /// [`Error::Argument`] for values out of range or that do not fit together, [`Error::NotFound`] and [`Error::Io`]
    /// for missing inputs.
    pub fn new(args: &ConvertArgs) -> Result<Self> {
        let params = conversion_params(args);
        args.voice.check()?;
        params.validate()?;
        let output = &args.output_settings;
        if let Some(rate) = output.output_rate.filter(|rate| !SAMPLE_RATES_HZ.contains(rate)) {
            let expected = format!("{} to {} Hz", SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
            return Err(Error::argument("--output-rate", expected, rate));
        }
        let models = ModelChoice::new(&args.voice, &args.pitch_settings.tracker, &args.model_settings)?;
        if let Some(curve) = &args.pitch_settings.f0_file {
            std::fs::metadata(curve).map_err(|source| Error::io(curve, source))?;
        }
        if output.reference.is_some() && output.bits != Bits::Sixteen {
            return Err(Error::argument("--bits", "16 with --reference", "another depth"));
        }
        let jobs = jobs::plan(&args.inputs, &args.output, output.format, args.force)?;
        let quantise = if output.reference.is_some() { Quantise::TruncateToZero } else { Quantise::Round };
        let format = sample_format(output.bits);
        if let Some(plot) = &output.plot {
            check_plot(plot, jobs.len())?;
        }
        let plan = Self {
            jobs,
            format,
            quantise,
            models,
            f0_file: args.pitch_settings.f0_file.clone(),
            output_rate_hz: output.output_rate,
            params,
            // Upstream transposes by what it is told.
            fits_pitch: args.voice.fits_pitch() && output.reference.is_none() && args.pitch_settings.f0_file.is_none(),
            report: output.report.clone(),
            plot: output.plot.clone(),
        };
        plan.check_encodings(plan.output_rate_hz)?;
        plan.check_others()?;
        Ok(plan)
    }

    fn encoding(&self, job: &Job) -> Result<Encoding> {
        Encoding::new(job.container, self.format, self.quantise)
    }

    /// Checks that every container holds the samples, at this rate if it is known.
    fn check_encodings(&self, rate_hz: Option<u32>) -> Result<()> {
        for job in &self.jobs {
            let encoding = self.encoding(job)?;
            rate_hz.map_or(Ok(()), |rate_hz| encoding.check_rate(rate_hz))?;
        }
        Ok(())
    }

    /// Checks that report and figures have names of their own.
    fn check_others(&self) -> Result<()> {
        let figures = self.jobs.iter().filter_map(|job| Some(("--plot", self.plot_of(job)?)));
        let report = self.report.iter().map(|report| ("--report", report.clone()));
        jobs::check_others(&self.jobs, &figures.chain(report).collect::<Vec<_>>())?;
        match &self.report {
            Some(report) if report.is_dir() => {
                Err(Error::argument("--report", "a file, not a folder", report.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where the figure of `job` goes, if one is wanted: in a folder, where the output is in its own.
    fn plot_of(&self, job: &Job) -> Option<PathBuf> {
        let plot = self.plot.as_ref()?;
        if self.jobs.len() == 1 && !plot.is_dir() {
            return Some(plot.clone());
        }
        // The whole file name, so that no two outputs share a figure.
        let mut place = job.place.clone().into_os_string();
        place.push(".png");
        Some(plot.join(place))
    }
}

fn check_plot(plot: &Path, files: usize) -> Result<()> {
    if files > 1 && plot.is_file() {
        return Err(Error::argument("--plot", "a folder, for several inputs", plot.display()));
    }
    let is_png = plot.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    if files == 1 && !plot.is_dir() && !is_png {
        return Err(Error::argument("--plot", "a name that ends in .png, or a folder", plot.display()));
    }
    Ok(())
}

fn conversion_params(args: &ConvertArgs) -> ConversionParams {
    let (pitch, output) = (&args.pitch_settings, &args.output_settings);
    let exact = output.reference.is_none() && !output.reference_lengths;
    let unvoiced = match (output.reference, pitch.unvoiced) {
        (Some(Reference::Head), _) | (None, UnvoicedRule::Interpolate) => Unvoiced::Interpolate,
        (Some(Reference::Classic), _) | (None, UnvoicedRule::Zero) => Unvoiced::Zero,
    };
    ConversionParams {
        rms_mix_rate: args.rms_mix_rate,
        unvoiced,
        lengths: if exact { Lengths::Exact } else { Lengths::Reference },
        ..args.voice.params(&pitch.tracker)
    }
}

fn sample_format(bits: Bits) -> SampleFormat {
    match bits {
        Bits::Sixteen => SampleFormat::Int(16),
        Bits::TwentyFour => SampleFormat::Int(24),
        Bits::ThirtyTwo => SampleFormat::Int(32),
        Bits::Float => SampleFormat::Float,
    }
}

/// Loads the models of `plan` and converts its files.
///
/// # Errors
/// As [`run`], and if a model is missing or cannot be read.
pub fn run_with_engine(plan: &ConvertPlan, progress: &Progress) -> Result<()> {
    match plan.models.place()? {
        Place::Cpu => run_on::<Cpu>(Default::default(), plan, progress),
        #[cfg(feature = "cuda")]
        Place::Burn(device) => run_on::<Cuda>(device, plan, progress),
        #[cfg(feature = "cuda-kernels")]
        Place::Cuda(device) => run_on::<Graphs>(device, plan, progress),
    }
}

fn run_on<B: VoiceOps>(device: B::Device, plan: &ConvertPlan, progress: &Progress) -> Result<()> {
    let curve = plan.f0_file.as_deref().map(pitch_curve::read).transpose()?;
    let interrupted = on_interrupt()?;
    let started = Instant::now();
    let files = plan.models.files()?;
    if let Some(note) = plan.models.index_note(&files) {
        progress.note(&note);
    }
    let mut converter = plan.models.engine::<B>(device, Precision::Full).converter(&files)?;
    plan.check_encodings(Some(plan.output_rate_hz.unwrap_or(converter.sample_rate_hz())))?;
    run(plan, progress, started.elapsed().as_secs_f64(), |recording, share_done| {
        let request = Request {
            recording,
            pitch_curve: curve.as_deref(),
            params: &plan.params,
            own_pitch: plan.fits_pitch,
            sizes: WindowSizes::default(),
            output_rate_hz: plan.output_rate_hz,
        };
        let conversion = converter.convert(request, &mut |share| {
            if interrupted.load(Ordering::Relaxed) { Err(Error::Stopped) } else { share_done(share) }
        })?;
        let semitones = conversion.transpose_semitones;
        if semitones != plan.params.transpose_semitones {
            progress
                .note(&format!("pitch shifted by {semitones:.1} semitones, to the voice's own; --pitch 0 keeps it"));
        }
        Ok(conversion)
    })
}

/// Converts every file of `plan` with `convert`, which took `load_seconds` to prepare.
///
/// `convert` gets a recording and a function to tell the share done so far, 0..=1. A file that fails is told on
/// standard error and does not stop the others; a wish to stop does.
///
/// # Errors
/// The first error that a file met, once all have been tried; or [`Error::Io`] if the report cannot be written.
pub fn run(
    plan: &ConvertPlan,
    progress: &Progress,
    load_seconds: f64,
    mut convert: impl FnMut(&Recording, &mut Listener<'_>) -> Result<Conversion>,
) -> Result<()> {
    let mut report = Report::new(load_seconds);
    let mut first_error = None;
    // Before hours of work, not after.
    plan.report.as_deref().map_or(Ok(()), create_parent)?;
    for job in &plan.jobs {
        match convert_file(plan, job, progress, &mut convert) {
            Ok(file) => report.add(file),
            Err(error) => {
                report.failures.push(Failure { input: job.input.clone(), error: error.to_string() });
                if matches!(error, Error::Stopped) {
                    first_error = Some(error);
                    break;
                }
                // The first is told by the caller.
                if first_error.is_some() {
                    super::print_error(&error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    let written = plan.report.as_ref().map_or(Ok(()), |path| report.write(path));
    match (first_error, written) {
        (None, written) => written,
        (Some(first), Ok(())) => Err(first),
        (Some(first), Err(error)) => {
            super::print_error(&error);
            Err(first)
        }
    }
}

fn convert_file(
    plan: &ConvertPlan,
    job: &Job,
    progress: &Progress,
    convert: &mut impl FnMut(&Recording, &mut Listener<'_>) -> Result<Conversion>,
) -> Result<FileReport> {
    let started = Instant::now();
    let input = read(&job.input)?.recording;
    let read_seconds = started.elapsed().as_secs_f64();
    let audio_seconds = input.seconds();

    let started = Instant::now();
    let display = progress.file(&job.input, audio_seconds);
    let converted = convert(&input, &mut |share| {
        display.advance(share * audio_seconds);
        Ok(())
    })?;
    drop(display);
    let seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let output = &converted.audio;
    create_parent(&job.output)?;
    write(&job.output, output, plan.encoding(job)?)?;
    let write_seconds = started.elapsed().as_secs_f64();

    if let Some(path) = plan.plot_of(job) {
        create_parent(&path)?;
        plot::draw(&path, [&input, output], [&converted.f0_before_hz, &converted.f0_after_hz])?;
    }
    progress.done(&job.input, &job.output, audio_seconds, seconds);
    Ok(FileReport {
        input: job.input.clone(),
        output: job.output.clone(),
        audio_seconds,
        output_seconds: output.seconds(),
        input_rate_hz: input.sample_rate_hz,
        output_rate_hz: output.sample_rate_hz,
        transpose_semitones: converted.transpose_semitones,
        seconds,
        rtf: rtf(seconds, audio_seconds),
        read_seconds,
        write_seconds,
        stages: stage_reports(&converted.times, audio_seconds),
    })
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => {
            std::fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::NoiseChoice;
    use crate::telemetry::{Stage, StageTimes};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        convert: ConvertArgs,
    }

    fn fixture(name: &str) -> String {
        format!("{}/tests/data/audio/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn planned(folder: &Path, arguments: &[&str]) -> Result<ConvertPlan> {
        let output = folder.join("out.wav");
        let input = fixture("tone_stereo_44k1.flac");
        let fixed = ["convert", &input, "-o", output.to_str().unwrap(), "--voice", "v.pth"];
        let line = Line::try_parse_from(fixed.into_iter().chain(arguments.iter().copied())).unwrap();
        ConvertPlan::new(&line.convert)
    }

    /// Gives the input back: the loop around the networks without the networks.
    fn unchanged(input: &Recording, told: &mut Listener<'_>) -> Result<Conversion> {
        told(1.0)?;
        let hops = input.samples.len() * 100 / input.sample_rate_hz as usize;
        let mut times = StageTimes::default();
        times.measure(Stage::Units, || std::hint::black_box(vec![0; 1 << 20]));
        let (f0_before_hz, f0_after_hz) = (vec![440.0; hops], vec![220.0; hops]);
        Ok(Conversion { audio: input.clone(), f0_before_hz, f0_after_hz, transpose_semitones: 0.0, times })
    }

    #[test]
    fn defaults_are_the_references_and_the_lengths_exact() {
        let folder = tempfile::tempdir().unwrap();
        let plan = planned(folder.path(), &[]).unwrap();
        assert_eq!(plan.params, ConversionParams::default());
        assert_eq!((plan.format, plan.quantise), (SampleFormat::Int(16), Quantise::Round));
    }

    #[test]
    fn a_reference_sets_lengths_truncation_and_the_unvoiced_rule() {
        let folder = tempfile::tempdir().unwrap();
        let head = planned(folder.path(), &["--reference", "head", "--noise", "zero"]).unwrap();
        assert_eq!((head.params.lengths, head.params.unvoiced), (Lengths::Reference, Unvoiced::Interpolate));
        assert_eq!((head.quantise, head.params.noise), (Quantise::TruncateToZero, NoiseChoice::Zero));
        let classic = planned(folder.path(), &["--reference", "classic"]).unwrap();
        assert_eq!((classic.params.lengths, classic.params.unvoiced), (Lengths::Reference, Unvoiced::Zero));
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (arguments, name) in [
            (["--pitch", "-49"], "--pitch"),
            (["--pitch", "nan"], "--pitch"),
            (["--protect", "0.6"], "protect"),
            (["--index-rate", "1.1"], "index rate"),
            (["--output-rate", "10"], "--output-rate"),
            (["--plot", "figure.jpg"], "--plot"),
            (["--report", &fixture("tone_stereo_44k1.flac")], "--report"),
            (["--report", folder.path().join("out.wav").to_str().unwrap()], "--report"),
            (["--report", folder.path().to_str().unwrap()], "--report"),
        ] {
            let error = planned(folder.path(), &arguments).unwrap_err();
            assert_eq!(error.exit_code(), 64);
            assert!(error.to_string().starts_with(name), "{error}");
        }
        assert_eq!(planned(folder.path(), &["--index", "none.index"]).unwrap_err().exit_code(), 66);
    }

    #[test]
    fn a_run_writes_output_report_and_figure() {
        let folder = tempfile::tempdir().unwrap();
        let (report, figure) = (folder.path().join("r/report.json"), folder.path().join("figure.png"));
        let arguments = ["--report", report.to_str().unwrap(), "--plot", figure.to_str().unwrap()];
        let plan = planned(folder.path(), &arguments).unwrap();
        run(&plan, &Progress::new(true), 1.5, unchanged).unwrap();
        assert_eq!(read(&plan.jobs[0].output).unwrap().recording.samples.len(), 22_050);
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(report["load_seconds"], 1.5);
        assert_eq!(report["files"][0]["audio_seconds"], 0.5);
        let units = &report["files"][0]["stages"][2];
        assert_eq!(units["name"], "units");
        assert_eq!(units["rtf"].as_f64().unwrap(), units["seconds"].as_f64().unwrap() / 0.5);
        assert!(report["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
        assert_eq!(&std::fs::read(figure).unwrap()[1..4], b"PNG");
    }

    #[test]
    fn a_flac_that_cannot_hold_the_rate_is_refused_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let error = planned(folder.path(), &["--format", "flac", "--output-rate", "192000"]).unwrap_err();
        assert!(error.to_string().contains("at most 96000 Hz in a flac file"), "{error}");
        planned(folder.path(), &["--output-rate", "192000"]).unwrap();
    }

    #[test]
    fn figures_lie_where_the_outputs_do() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["a.wav", "deep/a.wav"] {
            let path = folder.path().join("in").join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(fixture("tone_mono_16k_s16.wav"), path).unwrap();
        }
        let (input, output, figures) =
            (folder.path().join("in"), folder.path().join("out"), folder.path().join("figures"));
        let paths = [&input, &output, &figures].map(|path| path.to_str().unwrap());
        let line = ["convert", paths[0], "-o", paths[1], "--voice", "v.pth", "--plot", paths[2]];
        let plan = ConvertPlan::new(&Line::try_parse_from(line).unwrap().convert).unwrap();
        let found: Vec<_> = plan.jobs.iter().filter_map(|job| plan.plot_of(job)).collect();
        assert_eq!(found, [figures.join("a.wav.png"), figures.join("deep/a.wav.png")]);
    }

    #[test]
    fn a_report_that_fails_does_not_hide_why_a_file_failed() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("r/report.json");
        let plan = planned(folder.path(), &["--report", report.to_str().unwrap()]).unwrap();
        let error = run(&plan, &Progress::new(true), 0.0, |_, _| {
            // A folder where the report would be.
            std::fs::create_dir(&report).unwrap();
            Err(Error::argument("speaker", "0 to 1", 7))
        });
        assert!(error.unwrap_err().to_string().starts_with("speaker"));
    }

    /// A plan for `a.wav` and `b.wav`, beside which or in place of one of which stands a file that is no audio.
    fn of_two(folder: &Path, bad: &str) -> (ConvertPlan, PathBuf) {
        let (input, output) = (folder.join("in"), folder.join("out"));
        std::fs::create_dir(&input).unwrap();
        for name in ["a.wav", "b.wav"] {
            std::fs::copy(fixture("tone_mono_16k_s16.wav"), input.join(name)).unwrap();
        }
        std::fs::write(input.join(bad), b"not audio").unwrap();
        let line = ["convert", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--voice", "v.pth"];
        (ConvertPlan::new(&Line::try_parse_from(line).unwrap().convert).unwrap(), output)
    }

    #[test]
    fn one_bad_file_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, output) = of_two(folder.path(), "a.wav");
        let error = run(&plan, &Progress::new(true), 0.0, unchanged).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(output.join("b.wav").exists() && !output.join("a.wav").exists());
    }

    #[test]
    fn a_wish_to_stop_stops_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, output) = of_two(folder.path(), "c.txt");
        let mut begun = 0;
        let error = run(&plan, &Progress::new(true), 0.0, |_, _| {
            begun += 1;
            Err(Error::Stopped)
        });
        assert_eq!((error.unwrap_err().exit_code(), begun), (130, 1));
        assert!(!output.join("a.wav").exists() && !output.join("b.wav").exists());
    }
}
