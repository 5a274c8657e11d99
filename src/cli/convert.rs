//! `syrinx convert`: recordings in, the same recordings in another voice out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::jobs::{self, Job};
use super::plot;
use super::progress::Progress;
use super::report::{Failure, FileReport, Report, rtf, stage_reports};
use crate::checkpoint::pitch::PitchNetwork;
use crate::checkpoint::store::ModelsDirectory;
use crate::engine::{Engine, ModelFiles, TrackerFile};
use crate::error::{Error, Result};
use crate::io::pitch_curve;
use crate::io::read::read;
use crate::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use crate::nn::Cpu;
use crate::params::{ConversionParams, Lengths, NoiseChoice, PitchMethod, Unvoiced};
use crate::path::offline::{Conversion, Request};
use crate::path::window::WindowSizes;
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
    /// Voice: an RVC `.pth`, or the name of one in the models folder
    #[arg(long, value_name = "VOICE")]
    pub voice: PathBuf,
    /// Retrieval index of the voice (FAISS `.index`)
    #[arg(long, value_name = "INDEX")]
    pub index: Option<PathBuf>,
    /// Overwrite outputs that exist (never an input)
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    voice_settings: VoiceArgs,
    #[command(flatten)]
    pitch_settings: PitchArgs,
    #[command(flatten)]
    model_settings: ModelArgs,
    #[command(flatten)]
    output_settings: OutputArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Voice")]
struct VoiceArgs {
    /// Pitch shift in semitones, -36 to 36
    #[arg(long, value_name = "N", default_value_t = 0.0, allow_negative_numbers = true)]
    pitch: f32,
    /// Formant shift in semitones, -12 to 12: a larger or smaller speaker at the same pitch
    #[arg(long, value_name = "N", default_value_t = 0.0, allow_negative_numbers = true)]
    formant: f32,
    /// Share of the index in the content, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.75)]
    index_rate: f32,
    /// Share of the index kept in unvoiced sounds, 0 to 0.5; 0.5 switches the protection off
    #[arg(long, value_name = "X", default_value_t = 0.33)]
    protect: f32,
    /// Loudness: 0 follows the input, 1 is the voice's own
    #[arg(long, value_name = "X", default_value_t = 0.25)]
    rms_mix_rate: f32,
    /// Speaker of a voice with several
    #[arg(long, value_name = "N", default_value_t = 0)]
    speaker: usize,
    /// Noise of the synthesizer: `seed:N` or `zero`
    #[arg(long, value_name = "NOISE", default_value = "seed:0", value_parser = parse_noise)]
    noise: NoiseChoice,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pitch")]
struct PitchArgs {
    /// Pitch tracker; without this, rmvpe where its model is found, else swift
    #[arg(long, value_name = "TRACKER")]
    f0: Option<PitchMethod>,
    /// Frames of the median filter on the pitch of crepe and yin, 0 to 7; below 3 it is off
    #[arg(long, value_name = "N", default_value_t = 3)]
    filter_radius: usize,
    /// Pitch of unvoiced sounds: left at zero, or drawn between the neighbours
    #[arg(long, value_name = "RULE", default_value = "zero", conflicts_with = "reference")]
    unvoiced: UnvoicedRule,
    /// Pitch to use instead of the tracker's: lines of `seconds,hertz`
    #[arg(long, value_name = "CSV")]
    f0_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
struct ModelArgs {
    /// Content encoder: `hubert_base.pt` or a Hugging Face folder
    #[arg(long, value_name = "PATH")]
    encoder: Option<PathBuf>,
    /// Weights of the pitch tracker
    #[arg(long, value_name = "PATH")]
    pitch_model: Option<PathBuf>,
    /// Where the networks run
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
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
enum Device {
    /// The processor
    Cpu,
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

fn parse_noise(text: &str) -> std::result::Result<NoiseChoice, String> {
    match text.strip_prefix("seed:") {
        Some(seed) => seed.parse().map(NoiseChoice::Seeded).map_err(|_| "the seed must be a whole number".into()),
        None if text == "zero" => Ok(NoiseChoice::Zero),
        None => Err("expected `seed:N` or `zero`".into()),
    }
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
    /// The voice: a file, or a name in the models folder.
    pub voice: PathBuf,
    /// Its index.
    pub index: Option<PathBuf>,
    /// The content encoder, if not from the models folder.
    pub encoder: Option<PathBuf>,
    /// The pitch tracker, if one was asked for.
    pub pitch_method: Option<PitchMethod>,
    /// Its weights, if not from the models folder.
    pub pitch_model: Option<PathBuf>,
    /// A pitch curve that replaces the tracker's.
    pub f0_file: Option<PathBuf>,
    /// Rate of the outputs, if not the voice's.
    pub output_rate_hz: Option<u32>,
    /// How to convert.
    pub params: ConversionParams,
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
        if !(-36.0..=36.0).contains(&params.transpose_semitones) {
            return Err(Error::argument("--pitch", "-36 to 36 semitones", params.transpose_semitones));
        }
        params.validate()?;
        let output = &args.output_settings;
        if let Some(rate) = output.output_rate.filter(|rate| !SAMPLE_RATES_HZ.contains(rate)) {
            let expected = format!("{} to {} Hz", SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
            return Err(Error::argument("--output-rate", expected, rate));
        }
        let files = [&args.index, &args.pitch_settings.f0_file, &args.model_settings.encoder];
        for path in files.into_iter().chain([&args.model_settings.pitch_model]).flatten() {
            std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
        }
        if output.reference.is_some() && output.bits != Bits::Sixteen {
            return Err(Error::argument("--bits", "16 with --reference", "another depth"));
        }
        let jobs = jobs::plan(&args.inputs, &args.output, output.format, args.force)?;
        let quantise = if output.reference.is_some() { Quantise::TruncateToZero } else { Quantise::Round };
        let format = sample_format(output.bits);
        for job in &jobs {
            Encoding::new(job.container, format, quantise)?;
        }
        if let Some(plot) = &output.plot {
            check_plot(plot, jobs.len())?;
        }
        Ok(Self {
            jobs,
            format,
            quantise,
            voice: args.voice.clone(),
            index: args.index.clone(),
            encoder: args.model_settings.encoder.clone(),
            pitch_method: args.pitch_settings.f0,
            pitch_model: args.model_settings.pitch_model.clone(),
            f0_file: args.pitch_settings.f0_file.clone(),
            output_rate_hz: output.output_rate,
            params,
            report: output.report.clone(),
            plot: output.plot.clone(),
        })
    }

    /// The files of all models, found in the models folder where no path was given.
    fn models(&self) -> Result<ModelFiles> {
        let folder = ModelsDirectory::of_user()?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let voice = folder.voice(&text(&self.voice))?;
        let named = self.pitch_model.as_deref().map(text);
        let network = |network, tiny| {
            let path = folder.pitch(named.as_deref(), network, tiny)?;
            Ok::<_, Error>(TrackerFile::Network(network, path))
        };
        let tracker = match self.pitch_method {
            Some(PitchMethod::Rmvpe) => network(PitchNetwork::Rmvpe, false)?,
            Some(PitchMethod::Fcpe) => network(PitchNetwork::Fcpe, false)?,
            Some(PitchMethod::Crepe) => network(PitchNetwork::Crepe, false)?,
            Some(PitchMethod::CrepeTiny) => network(PitchNetwork::Crepe, true)?,
            Some(PitchMethod::Swift) => TrackerFile::SwiftF0,
            Some(PitchMethod::Yin) => TrackerFile::Yin,
            None if self.pitch_model.is_some() => network(PitchNetwork::Rmvpe, false)?,
            None => network(PitchNetwork::Rmvpe, false).unwrap_or(TrackerFile::SwiftF0),
        };
        Ok(ModelFiles {
            index: self.index.clone().or_else(|| folder.index_of(&voice)).filter(|_| self.params.index_rate > 0.0),
            encoder: folder.encoder(self.encoder.as_deref().map(text).as_deref())?,
            tracker,
            voice,
        })
    }

    /// Where the figure of `job` goes, if one is wanted.
    fn plot_of(&self, job: &Job) -> Option<PathBuf> {
        let plot = self.plot.as_ref()?;
        if self.jobs.len() == 1 && !plot.is_dir() {
            return Some(plot.clone());
        }
        // The whole file name, so that no two outputs share a figure.
        let mut name = job.output.file_name().unwrap_or_default().to_owned();
        name.push(".png");
        Some(plot.join(name))
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
    let (voice, pitch, output) = (&args.voice_settings, &args.pitch_settings, &args.output_settings);
    let exact = output.reference.is_none() && !output.reference_lengths;
    let unvoiced = match (output.reference, pitch.unvoiced) {
        (Some(Reference::Head), _) | (None, UnvoicedRule::Interpolate) => Unvoiced::Interpolate,
        (Some(Reference::Classic), _) | (None, UnvoicedRule::Zero) => Unvoiced::Zero,
    };
    ConversionParams {
        transpose_semitones: voice.pitch,
        formant_semitones: voice.formant,
        index_rate: voice.index_rate,
        protect: voice.protect,
        rms_mix_rate: voice.rms_mix_rate,
        filter_radius: pitch.filter_radius,
        speaker: voice.speaker,
        noise: voice.noise,
        unvoiced,
        lengths: if exact { Lengths::Exact } else { Lengths::Reference },
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
    let curve = plan.f0_file.as_deref().map(pitch_curve::read).transpose()?;
    let started = Instant::now();
    let mut converter = Engine::<Cpu>::new(Default::default()).converter(&plan.models()?)?;
    run(plan, progress, started.elapsed().as_secs_f64(), |recording, share_done| {
        let request = Request {
            recording,
            pitch_curve: curve.as_deref(),
            params: &plan.params,
            sizes: WindowSizes::default(),
            output_rate_hz: plan.output_rate_hz,
        };
        converter.convert(request, share_done)
    })
}

/// Converts every file of `plan` with `convert`, which took `load_seconds` to prepare.
///
/// `convert` gets a recording and a function to tell the share done so far, 0..=1. A file that fails is told on
/// standard error and does not stop the others.
///
/// # Errors
/// The first error that a file met, once all have been tried; or [`Error::Io`] if the report cannot be written.
pub fn run(
    plan: &ConvertPlan,
    progress: &Progress,
    load_seconds: f64,
    mut convert: impl FnMut(&Recording, &mut dyn FnMut(f64)) -> Result<Conversion>,
) -> Result<()> {
    let mut report = Report::new(load_seconds);
    let mut first_error = None;
    for job in &plan.jobs {
        match convert_file(plan, job, progress, &mut convert) {
            Ok(file) => report.add(file),
            Err(error) => {
                report.failures.push(Failure { input: job.input.clone(), error: error.to_string() });
                // The first is told by the caller.
                if first_error.is_some() {
                    super::print_error(&error);
                }
                first_error.get_or_insert(error);
            }
        }
    }
    if let Some(path) = &plan.report {
        report.write(path)?;
    }
    first_error.map_or(Ok(()), Err)
}

fn convert_file(
    plan: &ConvertPlan,
    job: &Job,
    progress: &Progress,
    convert: &mut impl FnMut(&Recording, &mut dyn FnMut(f64)) -> Result<Conversion>,
) -> Result<FileReport> {
    let started = Instant::now();
    let input = read(&job.input)?.recording;
    let read_seconds = started.elapsed().as_secs_f64();
    let audio_seconds = input.seconds();

    let started = Instant::now();
    let display = progress.file(&job.input, audio_seconds);
    let converted = convert(&input, &mut |share| display.advance(share * audio_seconds))?;
    drop(display);
    let seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let output = &converted.audio;
    create_parent(&job.output)?;
    write(&job.output, output, Encoding::new(job.container, plan.format, plan.quantise)?)?;
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
    #[allow(clippy::unnecessary_wraps, reason = "of the converter's type")]
    fn unchanged(input: &Recording, told: &mut dyn FnMut(f64)) -> Result<Conversion> {
        told(1.0);
        let hops = input.samples.len() * 100 / input.sample_rate_hz as usize;
        let mut times = StageTimes::default();
        times.measure(Stage::Units, || std::hint::black_box(vec![0; 1 << 20]));
        let (f0_before_hz, f0_after_hz) = (vec![440.0; hops], vec![220.0; hops]);
        Ok(Conversion { audio: input.clone(), f0_before_hz, f0_after_hz, times })
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
            (["--pitch", "-37"], "--pitch"),
            (["--pitch", "nan"], "--pitch"),
            (["--protect", "0.6"], "protect"),
            (["--index-rate", "1.1"], "index rate"),
            (["--output-rate", "10"], "--output-rate"),
            (["--plot", "figure.jpg"], "--plot"),
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
        std::fs::create_dir(report.parent().unwrap()).unwrap();
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
    fn one_bad_file_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        std::fs::create_dir(&input).unwrap();
        std::fs::write(input.join("a.wav"), b"not audio").unwrap();
        std::fs::copy(fixture("tone_mono_16k_s16.wav"), input.join("b.wav")).unwrap();
        let output = folder.path().join("out");
        let line = ["convert", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--voice", "v.pth"];
        let plan = ConvertPlan::new(&Line::try_parse_from(line).unwrap().convert).unwrap();
        let error = run(&plan, &Progress::new(true), 0.0, unchanged).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(output.join("b.wav").exists() && !output.join("a.wav").exists());
    }
}
