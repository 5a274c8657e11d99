//! How a job or a request wants its voice: the fields of the API, checked, as the path's parameters.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::params::{ConversionParams, PitchMethod};
use crate::tts::Manner;

/// The fields that every way of asking for speech or conversion shares.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, utoipa::ToSchema)]
#[serde(default)]
pub struct JobParams {
    /// A voice of the text-to-speech source.
    pub voice_preset: Option<String>,
    /// The same, under the name that other clients use.
    pub voice_id: Option<String>,
    /// Language of the text, as `en` or `pt-br`.
    pub source_language: Option<String>,
    /// Language of the speech: the same, since nothing is translated.
    pub target_language: Option<String>,
    /// Whether the speech is converted. Without this: whether a voice is named.
    pub enable_rvc: Option<bool>,
    /// The voice to convert to.
    pub rvc_model_id: Option<String>,
    /// Pitch shift in semitones, -12..=12. Without this: to the voice's own pitch, if the voice tells it, else 0.
    #[schema(minimum = -12, maximum = 12)]
    pub rvc_pitch: Option<f32>,
    /// Share of the index, 0..=1.
    #[schema(minimum = 0, maximum = 1)]
    pub rvc_index_rate: Option<f32>,
    /// Median filter of weightless trackers, 0..=7.
    #[schema(minimum = 0, maximum = 7)]
    pub rvc_filter_radius: Option<u8>,
    /// Whose loudness, 0..=1.
    #[schema(minimum = 0, maximum = 1)]
    pub rvc_rms_mix_rate: Option<f32>,
    /// Protection of unvoiced sounds, 0..=0.5.
    #[schema(minimum = 0, maximum = 0.5)]
    pub rvc_protect: Option<f32>,
    /// rmvpe, fcpe, crepe, swift or yin; pm, harvest and dio are taken for yin.
    #[schema(pattern = "^(|rmvpe|fcpe|crepe|swift|yin|pm|harvest|dio)$")]
    pub rvc_f0_method: Option<String>,
    /// Speed of the speech, 0.25..=4.
    #[schema(minimum = 0.25, maximum = 4)]
    pub speed: Option<f32>,
}

impl JobParams {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the field.
    pub fn validate(&self) -> Result<()> {
        fn within(name: &str, value: Option<f32>, low: f32, high: f32) -> Result<()> {
            // Also refuses NaN.
            match value.filter(|value| !(low..=high).contains(value)) {
                Some(value) => Err(Error::argument(name, format!("{low} to {high}"), value)),
                None => Ok(()),
            }
        }
        within("rvc_pitch", self.rvc_pitch, -12.0, 12.0)?;
        within("rvc_index_rate", self.rvc_index_rate, 0.0, 1.0)?;
        within("rvc_filter_radius", self.rvc_filter_radius.map(f32::from), 0.0, 7.0)?;
        within("rvc_rms_mix_rate", self.rvc_rms_mix_rate, 0.0, 1.0)?;
        within("rvc_protect", self.rvc_protect, 0.0, 0.5)?;
        within("speed", self.speed, 0.25, 4.0)?;
        self.pitch_method()?;
        if self.enable_rvc == Some(true) && self.rvc_model_id.is_none() {
            return Err(Error::argument("rvc_model_id", "the id of a voice, with enable_rvc", "none"));
        }
        let languages = self.source_language.as_ref().zip(self.target_language.as_ref());
        if let Some((source, target)) = languages.filter(|(source, target)| !source.eq_ignore_ascii_case(target)) {
            return Err(Error::argument("target_language", format!("{source}, since nothing is translated"), target));
        }
        for (name, value) in
            [("voice_preset", &self.voice_preset), ("voice_id", &self.voice_id), ("language", &self.source_language)]
        {
            let is_name = |letter: char| letter.is_alphanumeric() || "-_.+/ ".contains(letter);
            if let Some(value) = value.as_ref().filter(|value| value.len() > 100 || !value.chars().all(is_name)) {
                let shown: String = value.chars().take(40).collect();
                return Err(Error::argument(name, "a name of up to 100 letters, digits and -_.+/", shown));
            }
        }
        Ok(())
    }

    /// The voice to convert to, if any.
    #[must_use]
    pub fn voice(&self) -> Option<&str> {
        if self.enable_rvc == Some(false) { None } else { self.rvc_model_id.as_deref() }
    }

    /// How text to speech shall speak.
    #[must_use]
    pub fn manner(&self) -> Manner {
        let language = self.source_language.clone().or_else(|| self.target_language.clone());
        let voice = self.voice_preset.clone().or_else(|| self.voice_id.clone());
        Manner { voice, language, speed: self.speed }
    }

    /// How to convert.
    #[must_use]
    pub fn conversion(&self) -> ConversionParams {
        let usual = ConversionParams::default();
        ConversionParams {
            transpose_semitones: self.rvc_pitch.unwrap_or(0.0),
            index_rate: self.rvc_index_rate.unwrap_or(usual.index_rate),
            filter_radius: self.rvc_filter_radius.map_or(usual.filter_radius, usize::from),
            rms_mix_rate: self.rvc_rms_mix_rate.unwrap_or(usual.rms_mix_rate),
            protect: self.rvc_protect.unwrap_or(usual.protect),
            ..usual
        }
    }

    /// What reads the pitch, if anything was asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] for a method that there is not.
    pub fn pitch_method(&self) -> Result<Option<PitchMethod>> {
        Ok(Some(match self.rvc_f0_method.as_deref() {
            None | Some("") => return Ok(None),
            Some("rmvpe") => PitchMethod::Rmvpe,
            Some("fcpe") => PitchMethod::Fcpe,
            Some("crepe") => PitchMethod::Crepe,
            Some("swift") => PitchMethod::Swift,
            // Trackers without weights, of which there is one here.
            Some("yin" | "pm" | "harvest" | "dio") => PitchMethod::Yin,
            Some(other) => {
                let expected = "rmvpe, fcpe, pm, harvest, dio, crepe, swift or yin";
                return Err(Error::argument("rvc_f0_method", expected, other));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_refused_by_name() {
        for (json, name) in [
            (r#"{"rvc_pitch":13}"#, "rvc_pitch"),
            (r#"{"rvc_index_rate":1.1}"#, "rvc_index_rate"),
            (r#"{"rvc_filter_radius":8}"#, "rvc_filter_radius"),
            (r#"{"rvc_rms_mix_rate":-0.1}"#, "rvc_rms_mix_rate"),
            (r#"{"rvc_protect":0.6}"#, "rvc_protect"),
            (r#"{"rvc_f0_method":"magic"}"#, "rvc_f0_method"),
            (r#"{"enable_rvc":true}"#, "rvc_model_id"),
            (r#"{"source_language":"en","target_language":"pt"}"#, "target_language"),
            (r#"{"voice_id":"a\nb"}"#, "voice_id"),
        ] {
            let params: JobParams = serde_json::from_str(json).expect("fields");
            let error = params.validate().expect_err(json).to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn fields_that_are_left_out_stand_at_the_documented_defaults() {
        let params = JobParams::default();
        params.validate().expect("all is well");
        let conversion = params.conversion();
        assert_eq!((conversion.index_rate, conversion.filter_radius), (0.75, 3));
        assert_eq!((conversion.rms_mix_rate, conversion.protect), (0.25, 0.33));
        assert_eq!(params.voice(), None);
        let named = JobParams { rvc_model_id: Some("x".into()), ..JobParams::default() };
        assert_eq!(named.voice(), Some("x"));
        assert_eq!(JobParams { enable_rvc: Some(false), ..named }.voice(), None);
    }
}
