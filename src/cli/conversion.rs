//! Arguments that choose the models of a conversion and how it sounds, shared by `convert` and `live`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::checkpoint::pitch::PitchNetwork;
use crate::checkpoint::store::ModelsDirectory;
use crate::checkpoint::{Kind, identify};
use crate::engine::{Engine, ModelFiles, TrackerFile};
use crate::error::{Error, Result};
use crate::nn::Cpu;
use crate::nn::ops::Precision;
use crate::params::{ConversionParams, NoiseChoice, PitchMethod, TRANSPOSE_SEMITONES};

/// The voice, and how it speaks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Voice")]
pub struct VoiceArgs {
    /// Voice: an RVC `.pth`, or the name of one in the models folder
    #[arg(long, value_name = "VOICE")]
    voice: PathBuf,
    /// Retrieval index of the voice (FAISS `.index`)
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// Pitch shift in semitones, -48 to 48
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
    /// Speaker of a voice with several
    #[arg(long, value_name = "N", default_value_t = 0)]
    speaker: usize,
    /// Noise of the synthesizer: `seed:N` or `zero`
    #[arg(long, value_name = "NOISE", default_value = "seed:0", value_parser = parse_noise)]
    noise: NoiseChoice,
}

/// What reads the pitch.
#[derive(Args, Clone, Debug)]
pub struct TrackerArgs {
    /// Pitch tracker; without this, rmvpe where its model is found, else swift
    #[arg(long, value_name = "TRACKER")]
    f0: Option<PitchMethod>,
    /// Hops of the median filter on the pitch of yin, 0 to 7; below 3 it is off. Others are smooth, or smoothed, already
    #[arg(long, value_name = "N", default_value_t = 3)]
    filter_radius: usize,
    /// Move hops of the pitch back that stand an octave away from their neighbours, as in a creaky voice
    #[arg(long)]
    repair_octaves: bool,
}

/// Where the other models are, and where they run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
pub struct ModelArgs {
    /// Content encoder: `hubert_base.pt` or a Hugging Face folder, or the name of one in the models folder
    #[arg(long, value_name = "PATH")]
    encoder: Option<PathBuf>,
    /// Weights of the pitch tracker, or their name in the models folder; without --f0, they tell which tracker
    #[arg(long, value_name = "PATH")]
    pitch_model: Option<PathBuf>,
    /// How exactly the content encoder multiplies: `reduced` is faster where the processor has bfloat16 (units differ by some
    /// 0.5 %). Without this, `reduced` live and `full` for recordings
    #[arg(long, value_name = "PRECISION")]
    encoder_precision: Option<PrecisionArg>,
    /// Where the networks run
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// 32-bit floats
    Full,
    /// Factors of 16 bits, sums of 32
    Reduced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    /// The processor
    Cpu,
}

fn parse_noise(text: &str) -> std::result::Result<NoiseChoice, String> {
    match text.strip_prefix("seed:") {
        Some(seed) => seed.parse().map(NoiseChoice::Seeded).map_err(|_| "the seed must be a whole number".into()),
        None if text == "zero" => Ok(NoiseChoice::Zero),
        None => Err("expected `seed:N` or `zero`".into()),
    }
}

impl VoiceArgs {
    /// Checks what the library knows by another name.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument.
    pub fn check(&self) -> Result<()> {
        if TRANSPOSE_SEMITONES.contains(&self.pitch) {
            return Ok(());
        }
        let expected = format!("{} to {} semitones", TRANSPOSE_SEMITONES.start(), TRANSPOSE_SEMITONES.end());
        Err(Error::argument("--pitch", expected, self.pitch))
    }

    /// How to convert; what is not asked for here stands at its default.
    #[must_use]
    pub fn params(&self, tracker: &TrackerArgs) -> ConversionParams {
        ConversionParams {
            transpose_semitones: self.pitch,
            formant_semitones: self.formant,
            index_rate: self.index_rate,
            protect: self.protect,
            filter_radius: tracker.filter_radius,
            repair_octaves: tracker.repair_octaves,
            speaker: self.speaker,
            noise: self.noise,
            ..ConversionParams::default()
        }
    }
}

/// Models as they were asked for: paths are there, names are not looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelChoice {
    voice: PathBuf,
    index: Option<PathBuf>,
    /// Whether an index is of use.
    retrieves: bool,
    encoder: Option<PathBuf>,
    pitch_method: Option<PitchMethod>,
    pitch_model: Option<PathBuf>,
    encoder_precision: Option<Precision>,
}

impl ModelChoice {
    /// Checks that the files named by path or by name are there, and that weights are given to a tracker that has some.
    ///
    /// # Errors
    /// [`Error::Io`] for one that is not, [`Error::Argument`] for weights that nothing would read.
    pub fn new(voice: &VoiceArgs, tracker: &TrackerArgs, models: &ModelArgs) -> Result<Self> {
        if let Some(index) = &voice.index {
            std::fs::metadata(index).map_err(|source| Error::io(index, source))?;
        }
        for given in [&models.encoder, &models.pitch_model].into_iter().flatten() {
            // What is no name here may still be a path, whose error says more.
            if ModelsDirectory::of_user().ok().and_then(|folder| folder.named(&given.to_string_lossy())).is_none() {
                std::fs::metadata(given).map_err(|source| Error::io(given, source))?;
            }
        }
        let weightless = match tracker.f0 {
            Some(PitchMethod::Swift) => Some("swift, whose weights are inside the program"),
            Some(PitchMethod::Yin) => Some("yin, which has no weights"),
            _ => None,
        };
        if let (Some(found), Some(_)) = (weightless, &models.pitch_model) {
            let expected = "--f0 rmvpe, fcpe, crepe or crepe-tiny, or none";
            return Err(Error::argument("--pitch-model", expected, format!("--f0 {found}")));
        }
        Ok(Self {
            voice: voice.voice.clone(),
            index: voice.index.clone(),
            retrieves: voice.index_rate > 0.0,
            encoder: models.encoder.clone(),
            pitch_method: tracker.f0,
            pitch_model: models.pitch_model.clone(),
            encoder_precision: models.encoder_precision.map(|precision| match precision {
                PrecisionArg::Full => Precision::Full,
                PrecisionArg::Reduced => Precision::Reduced,
            }),
        })
    }

    /// An engine to load them with, the encoder's precision `otherwise` unless another was asked for.
    #[must_use]
    pub fn engine(&self, otherwise: Precision) -> Engine<Cpu> {
        Engine::new(Default::default()).with_encoder_precision(self.encoder_precision.unwrap_or(otherwise))
    }

    /// What a person should know of the index among `files`, if it was found by the voice's name.
    #[must_use]
    pub fn index_note(&self, files: &ModelFiles) -> Option<String> {
        let found = files.index.as_ref().filter(|_| self.index.is_none())?;
        Some(format!("index {}, found by the voice's name; --index-rate 0 leaves it out", found.display()))
    }

    /// The same models around another voice.
    #[must_use]
    pub fn with_voice(&self, voice: PathBuf, index: Option<PathBuf>) -> Self {
        Self { voice, index, ..self.clone() }
    }

    /// The files of all models, found in the models folder where no path was given.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a model that is nowhere.
    pub fn files(&self) -> Result<ModelFiles> {
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
            None if named.is_some() => {
                let path = folder.pitch(named.as_deref(), PitchNetwork::Rmvpe, false)?;
                let Kind::Pitch(found) = identify(&path)? else {
                    return Err(Error::format(path, "a pitch network (RMVPE, FCPE or CREPE)", "another model"));
                };
                TrackerFile::Network(found, path)
            }
            None => network(PitchNetwork::Rmvpe, false).unwrap_or(TrackerFile::SwiftF0),
        };
        Ok(ModelFiles {
            index: self.index.clone().or_else(|| folder.index_of(&voice)).filter(|_| self.retrieves),
            encoder: folder.encoder(self.encoder.as_deref().map(text).as_deref())?,
            tracker,
            voice,
        })
    }
}
