//! Text to speech into a voice: espeak-ng speaks, and what it has said so far is converted while it still speaks.
//!
//! ```sh
//! apt-get install espeak-ng
//! cargo run --release --example speak -- out.wav "Every bird has its own song, and some have two."
//! cargo run --release --example speak -- out.wav "Hello." alto.pth hubert_base.pt
//! ```
//!
//! Without a voice it takes the small untrained one of the tests, which sounds like noise. The program tells when the
//! first converted audio was there, and when espeak-ng had ended its sentence.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::params::ConversionParams;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::rt::resample::StreamResampler;

/// Rate of the stream, in Hz.
const RATE_HZ: u32 = 48_000;
/// Bytes of espeak-ng's wav header. The length in it is not true, since it is written before a word is spoken.
const HEADER: usize = 44;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = PathBuf::from(arguments.next().ok_or("give the wav file to write, and what to say")?);
    let text = arguments.next().unwrap_or_else(|| {
        "The syrinx is the voice of birds. It sits where the windpipe forks, so that some birds sing two songs at \
         once, one with each side, and no one has yet taught them how."
            .into()
    });
    let small = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let models = ModelFiles {
        voice: arguments.next().map_or_else(|| small("synth_small_v1_32k.pth"), PathBuf::from),
        index: None,
        encoder: arguments.next().map_or_else(|| small("hubert_small_v1.weights.safetensors"), PathBuf::from),
        tracker: TrackerFile::SwiftF0,
    };
    let voice = Engine::<Cpu>::new(Default::default()).converter(&models)?;
    let settings = StreamSettings {
        rate_hz: RATE_HZ,
        timing: Timing { chunk: 0.1, crossfade: 0.04, context: 1.0 },
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    let params = ConversionParams { rms_mix_rate: 0.0, ..ConversionParams::default() };
    let mut stream = Stream::new(voice, settings, &params)?;

    let began = Instant::now();
    let mut speaker = Speaker::speak(&text)?;
    let mut chunk = vec![0.0; stream.geometry().chunk_samples()];
    let mut converted = chunk.clone();
    let (mut said, mut written, mut first) = (0, Vec::new(), None);
    while speaker.fill(&mut chunk)? {
        said += chunk.len();
        stream.step(&chunk, &params, &mut converted)?;
        if first.is_none() && converted.iter().any(|x| x.abs() > 1e-3) {
            first = Some((began.elapsed(), said));
        }
        written.extend_from_slice(&converted);
    }
    let ended = began.elapsed();
    // What is still on its way comes out behind.
    for _ in 0..stream.latency_samples().div_ceil(chunk.len()) {
        stream.step(&vec![0.0; chunk.len()], &params, &mut converted)?;
        written.extend_from_slice(&converted);
    }
    write(&output, &written)?;

    let seconds = |samples: usize| samples as f64 / f64::from(RATE_HZ);
    let (first, by_then) = first.ok_or("nothing was said")?;
    println!(
        "first converted audio after {:.0} ms, {:.2} s into the sentence",
        first.as_secs_f64() * 1e3,
        seconds(by_then)
    );
    println!("sentence of {:.2} s ended after {:.0} ms", seconds(said), ended.as_secs_f64() * 1e3);
    println!("{}", output.display());
    Ok(())
}

/// A running espeak-ng. It is held up by its pipe, so it is never far ahead of what was read.
struct Speaker {
    process: Child,
    resampler: StreamResampler,
}

impl Speaker {
    fn speak(text: &str) -> Result<Self, Box<dyn Error>> {
        let mut espeak = Command::new("espeak-ng");
        let espeak = espeak.args(["--stdout", "--", text]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = espeak.map_err(|error| format!("espeak-ng: {error}; install it"))?;
        let mut header = [0; HEADER];
        process.stdout.as_mut().ok_or("no output")?.read_exact(&mut header)?;
        let rate_hz = u32::from_le_bytes(header[24..28].try_into()?);
        let resampler = StreamResampler::new(rate_hz, RATE_HZ, RATE_HZ as usize, RATE_HZ as usize)?;
        Ok(Self { process, resampler })
    }

    /// Fills `chunk` at the stream's rate, with silence after the last word; says whether there was a word.
    fn fill(&mut self, chunk: &mut [f32]) -> Result<bool, Box<dyn Error>> {
        let mut bytes = Vec::new();
        let needed = 2 * self.resampler.needed(chunk.len());
        self.process.stdout.as_mut().ok_or("no output")?.take(needed as u64).read_to_end(&mut bytes)?;
        let samples: Vec<f32> =
            bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect();
        self.resampler.push(&samples);
        self.resampler.pull(chunk);
        Ok(!samples.is_empty())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(path: &Path, samples: &[f32]) -> Result<(), hound::Error> {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 1, sample_rate: RATE_HZ, bits_per_sample: 16, sample_format };
    let mut file = hound::WavWriter::create(path, spec)?;
    samples.iter().try_for_each(|&x| file.write_sample((x.clamp(-1.0, 1.0) * 32_767.0) as i16))?;
    file.finalize()
}
