//! Programs that speak: text on their standard input or in an argument, wav or raw PCM on their standard output.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use super::patience::Fault;
use super::pcm::{Decoder, PcmFormat};
use super::speech::{TextRx, Utterance};
use super::{Manner, Source, SourceVoice};
use crate::error::{Error, Result};

/// Words a minute that espeak-ng speaks by itself.
const ESPEAK_RATE: f32 = 175.0;
/// Bytes read at once: short enough that the first sound is passed on at once.
const READ: usize = 8192;
/// Bytes of complaints that are kept.
const COMPLAINT: usize = 2000;

/// A program, and how it is asked to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSource {
    program: PathBuf,
    arguments: Vec<String>,
    dialect: Dialect,
    /// What raw PCM is like; a wav tells by itself.
    format: Option<PcmFormat>,
}

/// How a program takes text, voice and speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// One run a sentence; it takes no voice and no speed.
    Plain,
    /// One run a sentence, with espeak-ng's options.
    Espeak,
    /// One run for all, a line of text a sentence, with piper's options.
    Piper,
}

impl CommandSource {
    /// espeak-ng, at this path or in `PATH`.
    #[must_use]
    pub fn espeak(program: Option<PathBuf>) -> Self {
        Self {
            program: program.unwrap_or_else(|| "espeak-ng".into()),
            arguments: vec!["--stdout".into(), "--stdin".into(), "-b".into(), "1".into()],
            dialect: Dialect::Espeak,
            format: None,
        }
    }

    /// The `piper` program with a model, whose rate is read from the `.json` beside it.
    ///
    /// # Errors
    /// A model without its `.json`, or one that tells no rate.
    pub fn piper(program: Option<PathBuf>, model: &Path) -> Result<Self> {
        let config = PathBuf::from(format!("{}.json", model.display()));
        let text = std::fs::read(&config).map_err(|source| Error::io(&config, source))?;
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Error::format(&config, "JSON", error))?;
        let rate_hz = json["audio"]["sample_rate"].as_u64().and_then(|rate_hz| u32::try_from(rate_hz).ok());
        let format = rate_hz.map(PcmFormat::mono).filter(PcmFormat::is_plausible);
        let format = format.ok_or_else(|| Error::format(&config, "audio.sample_rate", &json["audio"]))?;
        Ok(Self {
            program: program.unwrap_or_else(|| "piper".into()),
            arguments: vec!["--model".into(), model.display().to_string(), "--output-raw".into()],
            dialect: Dialect::Piper,
            format: Some(format),
        })
    }

    /// Any program: `{}` among its arguments stands for the text, which else comes on its standard input. `format` is
    /// that of its output, if that is raw.
    ///
    /// # Errors
    /// No program.
    pub fn new(command: &str, format: Option<PcmFormat>) -> Result<Self> {
        let mut words = words(command).into_iter();
        let program = words.next().ok_or_else(|| Error::argument("--tts command", "a program", "nothing"))?;
        Ok(Self { program: program.into(), arguments: words.collect(), dialect: Dialect::Plain, format })
    }

    fn start(&self, text: &str, manner: &Manner) -> Result<Child, Fault> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| argument.replace("{}", text)));
        command.args(self.options(manner));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| Fault::Lasting(Error::server(self.name(), error, "install it, or give its path")))
    }

    fn options(&self, manner: &Manner) -> Vec<String> {
        match self.dialect {
            Dialect::Plain => Vec::new(),
            Dialect::Espeak => {
                let voice = manner.voice.as_ref().or(manner.language.as_ref());
                let voice = voice.into_iter().flat_map(|voice| ["-v".to_owned(), voice.clone()]);
                let speed = manner.speed.map(|speed| ESPEAK_RATE * speed);
                voice.chain(speed.into_iter().flat_map(|speed| ["-s".to_owned(), format!("{speed:.0}")])).collect()
            }
            Dialect::Piper => {
                let voice = manner.voice.iter().flat_map(|voice| ["--speaker".to_owned(), voice.clone()]);
                let speed = manner.speed.map(|speed| 1.0 / speed);
                voice.chain(speed.iter().flat_map(|scale| ["--length-scale".to_owned(), scale.to_string()])).collect()
            }
        }
    }

    /// Passes on all that the program says.
    async fn listen(&self, child: &mut Child, audio: &mut Utterance) -> Result<(), Fault> {
        let broken = |error| Fault::passing(&self.name(), error);
        let mut output = child.stdout.take().ok_or_else(|| broken("no output".to_owned()))?;
        let complaint = child.stderr.take().map(|stderr| tokio::spawn(complaint(stderr)));
        let mut decoder = Decoder::new(self.format);
        let mut bytes = vec![0; READ];
        loop {
            let count = output.read(&mut bytes).await.map_err(|error| broken(error.to_string()))?;
            if count == 0 {
                break;
            }
            for piece in decoder.push(&bytes[..count]).map_err(|found| self.no_audio(&found))? {
                audio.push(piece).await?;
            }
        }
        let status = child.wait().await.map_err(|error| broken(error.to_string()))?;
        if status.success() {
            return decoder.finish().map_err(|found| self.no_audio(&found));
        }
        let complaint = match complaint {
            Some(complaint) => complaint.await.unwrap_or_default(),
            None => String::new(),
        };
        Err(Fault::Passing { error: Error::server(self.name(), status, format!("it says: {complaint}")), after: None })
    }

    fn no_audio(&self, found: &str) -> Fault {
        let hint = "it must write a wav, or raw PCM of 16 bits with --tts-rate";
        Fault::Lasting(Error::server(self.name(), format!("its output is {found}"), hint))
    }
}

impl Source for CommandSource {
    fn name(&self) -> String {
        self.program.display().to_string()
    }

    fn say<'a>(
        &'a self,
        text: &'a str,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let mut child = self.start(text, manner)?;
            let stdin = child.stdin.take();
            let takes_argument = self.arguments.iter().any(|argument| argument.contains("{}"));
            let tell = async {
                if let Some(mut stdin) = stdin.filter(|_| !takes_argument) {
                    // A program that has read enough is no fault; one that failed says so.
                    let _ = tell(&mut stdin, text).await;
                }
                Ok(())
            };
            let listen = self.listen(&mut child, audio);
            tokio::try_join!(tell, listen).map(|_| ())
        })
    }

    fn voices(&self) -> BoxFuture<'_, Result<Vec<SourceVoice>>> {
        Box::pin(async move {
            if self.dialect != Dialect::Espeak {
                return Ok(Vec::new());
            }
            let output = Command::new(&self.program).arg("--voices").stdin(Stdio::null()).kill_on_drop(true).output();
            let output = output.await.map_err(|error| Error::server(self.name(), error, "install it"))?;
            Ok(espeak_voices(&String::from_utf8_lossy(&output.stdout)))
        })
    }

    fn takes_all(&self) -> bool {
        self.dialect == Dialect::Piper
    }

    fn say_all<'a>(
        &'a self,
        sentences: &'a mut TextRx,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let Some(first) = sentences.recv().await else { return Ok(()) };
            let mut child = self.start("", manner)?;
            let stdin = child.stdin.take();
            let tell = async move {
                let Some(mut stdin) = stdin else { return Ok(()) };
                let mut sentence = Some(first);
                while let Some(text) = sentence {
                    if tell(&mut stdin, &text).await.is_err() {
                        break;
                    }
                    sentence = sentences.recv().await;
                }
                Ok(())
            };
            let listen = self.listen(&mut child, audio);
            tokio::try_join!(tell, listen).map(|_| ())
        })
    }
}

/// The last line that a program complains with. All of it is read, so that the program is never held up.
async fn complaint(mut stderr: ChildStderr) -> String {
    let (mut kept, mut bytes) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        kept.extend_from_slice(&bytes[..count]);
        kept.drain(..kept.len().saturating_sub(COMPLAINT));
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// Writes one line of text.
async fn tell(stdin: &mut ChildStdin, text: &str) -> std::io::Result<()> {
    stdin.write_all(text.replace(['\n', '\r'], " ").as_bytes()).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await
}

/// The table that `espeak-ng --voices` prints: priority, language, age and gender, name, file, other languages.
fn espeak_voices(table: &str) -> Vec<SourceVoice> {
    let rows = table.lines().skip(1).filter_map(|row| row.split_whitespace().nth(1));
    rows.map(|language| SourceVoice { name: language.to_owned(), languages: vec![language.to_owned()] }).collect()
}

/// Words of a command line; quotes keep spaces.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut began) = (Vec::new(), String::new(), None, false);
    for letter in command.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => (quote, began) = (Some(letter), true),
            (Some(open), _) if open == letter => quote = None,
            (None, _) if letter.is_whitespace() => {
                if began {
                    words.push(std::mem::take(&mut word));
                }
                began = false;
            }
            _ => {
                word.push(letter);
                began = true;
            }
        }
    }
    if began {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_parted_at_spaces_outside_quotes() {
        assert_eq!(words("  say  -v 'a b' --x=\"c d\" \"\" "), ["say", "-v", "a b", "--x=c d", ""]);
        assert!(CommandSource::new("  ", None).is_err());
    }
}
