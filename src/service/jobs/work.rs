//! What a job does: text is said, speech is converted, in parts of a few sentences; or a recording is converted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use tokio::runtime::Handle;

use super::{Job, Outcome};
use crate::error::{Error, Result};
use crate::io::read::read_at_most;
use crate::nn::Cpu;
use crate::params::PitchMethod;
use crate::path::Converter;
use crate::path::offline::Request;
use crate::path::window::WindowSizes;
use crate::service::blobs::Blobs;
use crate::service::params::JobParams;
use crate::service::voices::{LoadedVoices, VoiceStore};
use crate::telemetry::Listener;
use crate::tts::{Piece, Sentences, Source, Speech};
use crate::units::Recording;

/// Longest recording of a job, in samples: an hour at 48 kHz.
pub const MOST_SAMPLES: usize = 3600 * 48_000;
/// Text is said and converted in parts of about so many letters, so that progress shows and a wish to end is heard.
const PART: usize = 300;
/// A source that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest time between two looks whether a source is still wanted.
const PACE: Duration = Duration::from_millis(200);

/// What work needs.
#[derive(Clone)]
pub struct Tools {
    /// Runs what waits for servers.
    pub runtime: Handle,
    /// What speaks.
    pub source: Arc<dyn Source>,
    /// Voices on disk.
    pub store: VoiceStore,
    /// Voices in memory.
    pub loaded: Arc<LoadedVoices>,
    /// Ids and names of voices that stay there.
    pub pinned: Arc<[String]>,
    /// Uploads and results.
    pub blobs: Arc<dyn Blobs>,
}

/// What converts, and by which threads.
#[derive(Clone)]
struct Converting<'a> {
    converter: Converter<Cpu>,
    threads: &'a ThreadPool,
}

/// Why a job has no result.
#[derive(Debug)]
pub enum WorkFault {
    /// It may have one another time.
    Passing(Error),
    /// It will have none.
    Lasting(Error),
    /// What is needed lies on a server that cannot be reached: it may have one once that can.
    Waiting(Error),
    /// No one wants it.
    Unwanted,
}

impl From<Error> for WorkFault {
    fn from(error: Error) -> Self {
        match error {
            Error::Stopped => Self::Unwanted,
            Error::Server { .. } | Error::Device { .. } => Self::Passing(error),
            Error::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => Self::Passing(error),
            _ => Self::Lasting(error),
        }
    }
}

impl WorkFault {
    /// What it means that voices or blobs cannot be had.
    fn of_stores(error: Error) -> Self {
        if matches!(error, Error::Server { .. }) { Self::Waiting(error) } else { error.into() }
    }
}

impl Tools {
    /// A converter as `params` wants it; none if nothing is to be converted.
    ///
    /// # Errors
    /// A voice that there is not, or that cannot be loaded.
    pub fn converter(&self, params: &JobParams) -> Result<Option<Converter<Cpu>>> {
        let Some(name) = params.voice() else { return Ok(None) };
        self.voice(name, params.pitch_method()?).map(Some)
    }

    /// Loads the voices that shall stay in memory, with what they need; those that are not there yet are loaded when used.
    ///
    /// # Errors
    /// A voice that cannot be loaded.
    pub fn load_pinned(&self) -> Result<()> {
        self.pinned.iter().try_for_each(|name| match self.voice(name, None) {
            Err(error @ Error::NotFound { .. }) => {
                tracing::warn!("--pin: {error}");
                Ok(())
            }
            loaded => loaded.map(|_| ()),
        })
    }

    fn voice(&self, name: &str, method: Option<PitchMethod>) -> Result<Converter<Cpu>> {
        let voice = match self.store.get(name)? {
            Some(voice) => Some(voice),
            None => self.store.named(name)?,
        };
        let voice = voice.ok_or_else(|| Error::NotFound {
            what: format!("voice `{name}`"),
            hint: "GET /rvc-models lists those that there are".into(),
        })?;
        if self.pinned.contains(&voice.id) || self.pinned.contains(&voice.name) {
            self.loaded.pin(&voice.id);
        }
        self.loaded.converter(&voice.id, &self.store.files(&voice)?, method)
    }

    /// Does a job, of which `threads` convert; `progress` hears the share done, and says [`Error::Stopped`] where no one wants
    /// it any more.
    ///
    /// # Errors
    /// As [`WorkFault`].
    pub fn work(
        &self,
        job: &Job,
        threads: &ThreadPool,
        progress: &mut Listener<'_>,
    ) -> Result<(Recording, Outcome), WorkFault> {
        let converter = self.converter(&job.request.params).map_err(WorkFault::of_stores)?;
        let converting = converter.map(|converter| Converting { converter, threads });
        progress(0.02)?;
        let mut outcome = Outcome::default();
        let recording = match &job.request.input {
            Some(key) => {
                let recording = self.upload(key).map_err(WorkFault::of_stores)?;
                progress(0.05)?;
                let told = &mut |share: f64| progress(0.05 + 0.95 * share);
                convert(&recording, converting, &job.request.params, &mut outcome, told)?
            }
            None => self.speak(job, converting, &mut outcome, &mut |share| progress(0.02 + 0.98 * share))?,
        };
        outcome.duration_seconds = recording.seconds();
        outcome.sample_rate_hz = recording.sample_rate_hz;
        Ok((recording, outcome))
    }

    fn upload(&self, key: &str) -> Result<Recording> {
        let bytes = self.blobs.get(key)?;
        let file = tempfile::Builder::new().suffix(&format!("-{key}")).tempfile();
        let mut file = file.map_err(|source| Error::io("the folder for temporary files", source))?;
        std::io::Write::write_all(&mut file, &bytes).map_err(|source| Error::io(file.path(), source))?;
        read_upload(file.path())
    }

    fn speak(
        &self,
        job: &Job,
        converting: Option<Converting<'_>>,
        outcome: &mut Outcome,
        progress: &mut Listener<'_>,
    ) -> Result<Recording, WorkFault> {
        let (parts, params) = (parts(&job.request.text), &job.request.params);
        if parts.is_empty() {
            return Err(Error::argument("text", "something that can be said", &job.request.text).into());
        }
        let is_wanted = AtomicBool::new(true);
        std::thread::scope(|scope| {
            // The next part is said while this one is converted.
            let (tx, said) = mpsc::sync_channel(1);
            let say = || self.say_all(&parts, params, tx, &is_wanted);
            let thread = std::thread::Builder::new().name("speaker".into()).spawn_scoped(scope, say);
            thread.map_err(|error| Error::io("a thread that speaks", error))?;
            let whole = gather(&parts, &said, converting, params, outcome, progress);
            is_wanted.store(false, Ordering::Relaxed);
            whole
        })
    }

    /// Says one part after the other, each as soon as the one before was taken, while they are wanted.
    fn say_all(
        &self,
        parts: &[String],
        params: &JobParams,
        said: mpsc::SyncSender<Result<(Recording, Duration)>>,
        is_wanted: &AtomicBool,
    ) {
        for part in parts {
            let started = Instant::now();
            let spoken = self.say(part, params, is_wanted).map(|spoken| (spoken, started.elapsed()));
            let failed = spoken.is_err();
            if said.send(spoken).is_err() || failed {
                return;
            }
        }
    }

    fn say(&self, text: &str, params: &JobParams, is_wanted: &AtomicBool) -> Result<Recording> {
        let mut speech = Speech::of_text(&self.runtime, self.source.clone(), text, params.manner());
        let mut said = Recording { samples: Vec::new(), sample_rate_hz: 0 };
        let next = async |speech: &mut Speech| tokio::time::timeout(PACE, speech.next()).await;
        let mut heard = Instant::now();
        while is_wanted.load(Ordering::Relaxed) {
            let Ok(piece) = self.runtime.block_on(next(&mut speech)) else {
                if heard.elapsed() < SILENCE {
                    continue;
                }
                return Err(Error::server(self.source.name(), "it says nothing any more", "is it overloaded?"));
            };
            heard = Instant::now();
            let Some(Piece { samples, rate_hz }) = piece? else { break };
            if said.sample_rate_hz != 0 && said.sample_rate_hz != rate_hz {
                let expected = format!("{} Hz throughout", said.sample_rate_hz);
                return Err(Error::format(self.source.name(), expected, rate_hz));
            }
            said.sample_rate_hz = rate_hz;
            said.samples.extend(samples);
            if said.samples.len() > MOST_SAMPLES {
                return Err(Error::argument("text", "at most an hour of speech", "more"));
            }
        }
        if said.samples.is_empty() {
            return Err(Error::server(self.source.name(), "it says nothing", "does it know the language?"));
        }
        Ok(said)
    }
}

/// Converts parts as they were said, and puts them together.
fn gather(
    parts: &[String],
    said: &mpsc::Receiver<Result<(Recording, Duration)>>,
    converting: Option<Converting<'_>>,
    params: &JobParams,
    outcome: &mut Outcome,
    progress: &mut Listener<'_>,
) -> Result<Recording, WorkFault> {
    /// About what saying takes of a part's time.
    const SAID_SHARE: f64 = 0.3;
    let mut whole: Option<Recording> = None;
    let letters: usize = parts.iter().map(String::len).sum();
    let mut done = 0;
    for part in parts {
        let told = &mut |share: f64| progress((done as f64 + share * part.len() as f64) / letters as f64);
        let Some((said, took)) = next_said(said, told)? else { break };
        outcome.tts_seconds += took.as_secs_f64();
        told(SAID_SHARE)?;
        let convert_told = &mut |share: f64| told(SAID_SHARE + (1.0 - SAID_SHARE) * share);
        let converted = convert(&said, converting.clone(), params, outcome, convert_told)?;
        done += part.len();
        match &mut whole {
            None => whole = Some(converted),
            Some(whole) if whole.sample_rate_hz == converted.sample_rate_hz => whole.samples.extend(converted.samples),
            Some(whole) => {
                let expected = format!("{} Hz throughout", whole.sample_rate_hz);
                return Err(Error::format("the speech", expected, converted.sample_rate_hz).into());
            }
        }
    }
    whole.ok_or(WorkFault::Unwanted)
}

/// The next part that was said, waited for as long as it is wanted; none if there are no more.
fn next_said(
    said: &mpsc::Receiver<Result<(Recording, Duration)>>,
    progress: &mut Listener<'_>,
) -> Result<Option<(Recording, Duration)>> {
    loop {
        match said.recv_timeout(PACE) {
            Ok(part) => return part.map(Some),
            Err(mpsc::RecvTimeoutError::Timeout) => progress(0.0)?,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Converts a recording, if there is anything to convert with.
fn convert(
    recording: &Recording,
    converting: Option<Converting<'_>>,
    params: &JobParams,
    outcome: &mut Outcome,
    progress: &mut Listener<'_>,
) -> Result<Recording> {
    let Some(Converting { mut converter, threads }) = converting else { return Ok(recording.clone()) };
    let started = Instant::now();
    let mut conversion = params.conversion();
    // All parts of a text are shifted alike.
    let shift = params.rvc_pitch.or(outcome.transpose_semitones);
    conversion.transpose_semitones = shift.unwrap_or_default();
    let request = Request {
        recording,
        pitch_curve: None,
        params: &conversion,
        own_pitch: shift.is_none(),
        sizes: WindowSizes::default(),
        output_rate_hz: None,
    };
    let converted = threads.install(|| converter.convert(request, progress))?;
    outcome.transpose_semitones = Some(converted.transpose_semitones);
    outcome.conversion_seconds += started.elapsed().as_secs_f64();
    Ok(converted.audio)
}

/// Reads a recording that a stranger sent.
///
/// # Errors
/// No audio, or more than an hour of it.
pub fn read_upload(path: &Path) -> Result<Recording> {
    let failed = |error| match error {
        Error::Format { expected, found, .. } => Error::format("the upload", expected, found),
        Error::Limit { what, claimed, limit, .. } => Error::Limit { path: "the upload".into(), what, claimed, limit },
        other => other,
    };
    read_at_most(path, MOST_SAMPLES).map(|file| file.recording).map_err(failed)
}

/// Sentences, gathered to parts.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for sentence in Sentences::of(text) {
        match parts.last_mut() {
            Some(part) if part.len() + sentence.len() < PART => {
                part.push(' ');
                part.push_str(&sentence);
            }
            _ => parts.push(sentence),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_gathered_to_parts_and_none_is_lost() {
        let text = "It sings. ".repeat(100);
        let parts = parts(&text);
        assert!(parts.len() > 3 && parts.iter().all(|part| part.len() < PART), "{parts:?}");
        assert_eq!(parts.join(" "), text.trim());
        assert!(super::parts(" ... ").is_empty());
    }
}
