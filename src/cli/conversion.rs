//! Arguments that choose the models of a conversion and how it sounds, shared by `convert` and `live`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

#[cfg(feature = "default-voice")]
use crate::checkpoint::built_in::BuiltIn;
use crate::checkpoint::pitch::PitchNetwork;
use crate::checkpoint::store::ModelsDirectory;
use crate::checkpoint::{Kind, identify};
use crate::engine::{Engine, ModelFiles, TrackerFile};
use crate::error::{Error, Result};
use crate::nn::ops::{Precision, VoiceOps};
use crate::params::{ConversionParams, NoiseChoice, PitchMethod, TRANSPOSE_SEMITONES};
use crate::place::{Place, PlaceChoice};

/// Share of the built-in voice's index: it has too few centres to speak clearly with (`models/default/README.md`).
const BUILT_IN_INDEX_RATE: f32 = 0.1;

/// Of `--voice`.
pub const VOICE_HELP: &str = if cfg!(feature = "default-voice") {
    "Voice: an RVC `.pth`, or the name of one in the models folder; without this, joe, who is part of the program"
} else {
    "Voice: an RVC `.pth`, or the name of one in the models folder"
};

/// The voice, and how it speaks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Voice")]
pub struct VoiceArgs {
    #[arg(long, value_name = "VOICE", required = !cfg!(feature = "default-voice"), help = VOICE_HELP)]
    voice: Option<PathBuf>,
    /// Retrieval index of the voice (FAISS `.index`)
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// Pitch shift in semitones, -48 to 48; `auto` brings the usual pitch of a recording, of a live speaker or of text to speech
    /// to the voice's, where the voice tells its own (joe does), and is 0 elsewhere and with --reference
    #[arg(long, value_name = "N", default_value = "auto", allow_negative_numbers = true, value_parser = parse_pitch)]
    pitch: PitchShift,
    /// Formant shift in semitones, -12 to 12: a larger or smaller speaker at the same pitch
    #[arg(long, value_name = "N", default_value_t = 0.0, allow_negative_numbers = true)]
    formant: f32,
    /// Share of the index in the content, 0 to 1; without this 0.75, and for joe 0.1: his index is small
    #[arg(long, value_name = "X")]
    index_rate: Option<f32>,
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
    /// Content encoder: `hubert_base.pt` or a Hugging Face folder, or the name of one in the models folder. A voice with a
    /// folder `encoder` beside it brings its own
    #[arg(long, value_name = "PATH")]
    encoder: Option<PathBuf>,
    /// Weights of the pitch tracker, or their name in the models folder; without --f0, they tell which tracker
    #[arg(long, value_name = "PATH")]
    pitch_model: Option<PathBuf>,
    /// How exactly the content encoder multiplies: `reduced` is faster where the processor has bfloat16 (units differ by some
    /// 0.5 %), and on GPUs holds for all networks. Without this, `reduced` live and `full` for recordings
    #[arg(long, value_name = "PRECISION")]
    encoder_precision: Option<PrecisionArg>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How exactly networks multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit floats
    Full,
    /// Factors of 16 bits on processors, of 19 on GPUs, sums of 32
    Reduced,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::Full => Self::Full,
            PrecisionArg::Reduced => Self::Reduced,
        }
    }
}

/// Where the networks run.
#[derive(Args, Clone, Copy, Debug)]
pub struct PlaceArgs {
    /// Where the networks run: `cpu`, `cuda` or `cuda:N` for an NVIDIA GPU, with `+burn` after it by burn's kernels,
    /// or `auto`: the first GPU if there is one
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: PlaceChoice,
}

/// How the pitch is shifted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PitchShift {
    /// By so many semitones.
    Semitones(f32),
    /// To the voice's own pitch.
    Auto,
}

fn parse_pitch(text: &str) -> std::result::Result<PitchShift, String> {
    match text {
        "auto" => Ok(PitchShift::Auto),
        _ => text.parse().map(PitchShift::Semitones).map_err(|_| "expected semitones or `auto`".into()),
    }
}

fn parse_noise(text: &str) -> std::result::Result<NoiseChoice, String> {
    match text.strip_prefix("seed:") {
        Some(seed) => seed.parse().map(NoiseChoice::Seeded).map_err(|_| "the seed must be a whole number".into()),
        None if text == "zero" => Ok(NoiseChoice::Zero),
        None => Err("expected `seed:N` or `zero`".into()),
    }
}

/// The voice that is part of the program, and its index.
#[cfg(feature = "default-voice")]
fn built_in() -> Result<(PathBuf, Option<PathBuf>)> {
    BuiltIn::unpacked().map(|files| (files.voice(), Some(files.index())))
}

#[cfg(not(feature = "default-voice"))]
fn built_in() -> Result<(PathBuf, Option<PathBuf>)> {
    Err(Error::argument("--voice", "a voice, since this build has none inside", "none"))
}

impl VoiceArgs {
    /// Checks what the library knows by another name.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument.
    pub fn check(&self) -> Result<()> {
        let semitones = self.semitones();
        if TRANSPOSE_SEMITONES.contains(&semitones) {
            return Ok(());
        }
        let expected = format!("{} to {} semitones", TRANSPOSE_SEMITONES.start(), TRANSPOSE_SEMITONES.end());
        Err(Error::argument("--pitch", expected, semitones))
    }

    /// Whether the pitch shall be brought to the voice's own.
    #[must_use]
    pub fn fits_pitch(&self) -> bool {
        self.pitch == PitchShift::Auto
    }

    fn index_rate(&self) -> f32 {
        let usual = if self.voice.is_some() { ConversionParams::default().index_rate } else { BUILT_IN_INDEX_RATE };
        self.index_rate.unwrap_or(usual)
    }

    fn semitones(&self) -> f32 {
        match self.pitch {
            PitchShift::Semitones(semitones) => semitones,
            PitchShift::Auto => 0.0,
        }
    }

    /// How to convert; what is not asked for here stands at its default.
    #[must_use]
    pub fn params(&self, tracker: &TrackerArgs) -> ConversionParams {
        ConversionParams {
            transpose_semitones: self.semitones(),
            formant_semitones: self.formant,
            index_rate: self.index_rate(),
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
    /// None for the one that is part of the program.
    voice: Option<PathBuf>,
    index: Option<PathBuf>,
    /// Whether an index is of use.
    retrieves: bool,
    encoder: Option<PathBuf>,
    pitch_method: Option<PitchMethod>,
    pitch_model: Option<PathBuf>,
    encoder_precision: Option<Precision>,
    place: PlaceChoice,
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
            retrieves: voice.index_rate() > 0.0,
            encoder: models.encoder.clone(),
            pitch_method: tracker.f0,
            pitch_model: models.pitch_model.clone(),
            encoder_precision: models.encoder_precision.map(Precision::from),
            place: models.place.device,
        })
    }

    /// Where they shall run.
    ///
    /// # Errors
    /// [`Error::Device`] for a GPU that is not there.
    pub fn place(&self) -> Result<Place> {
        self.place.open()
    }

    /// An engine to load them with, the encoder's precision `otherwise` unless another was asked for.
    #[must_use]
    pub fn engine<B: VoiceOps>(&self, device: B::Device, otherwise: Precision) -> Engine<B> {
        Engine::new(device).with_encoder_precision(self.encoder_precision.unwrap_or(otherwise))
    }

    /// What a person should know of the index among `files`, if it was found by the voice's name.
    #[must_use]
    pub fn index_note(&self, files: &ModelFiles) -> Option<String> {
        // What is part of the program belongs together.
        self.voice.as_ref()?;
        let found = files.index.as_ref().filter(|_| self.index.is_none())?;
        Some(format!("index {}, found by the voice's name; --index-rate 0 leaves it out", found.display()))
    }

    /// The same models around another voice.
    #[must_use]
    pub fn with_voice(&self, voice: PathBuf, index: Option<PathBuf>) -> Self {
        Self { voice: Some(voice), index, ..self.clone() }
    }

    /// The files of all models, found in the models folder where no path was given.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a model that is nowhere.
    pub fn files(&self) -> Result<ModelFiles> {
        let folder = ModelsDirectory::of_user()?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (voice, index) = match &self.voice {
            Some(voice) => {
                let voice = folder.voice(&text(voice))?;
                let index = folder.index_of(&voice);
                (voice, index)
            }
            None => built_in()?,
        };
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
            index: self.index.clone().or(index).filter(|_| self.retrieves),
            encoder: folder.encoder(self.encoder.as_deref().map(text).as_deref(), &voice)?,
            tracker,
            voice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pitch_is_semitones_or_the_voices_own() {
        assert_eq!(parse_pitch("auto"), Ok(PitchShift::Auto));
        assert_eq!(parse_pitch("-3.5"), Ok(PitchShift::Semitones(-3.5)));
        assert!(parse_pitch("high").is_err_and(|told| told.contains("`auto`")));
    }
}
