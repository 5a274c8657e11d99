//! Text to speech into a voice: espeak-ng speaks, and what it has said so far is converted while it still speaks.
//!
//! ```sh
//! apt-get install espeak-ng
//! cargo run --release --features service --example speak -- out.wav "Every bird has its own song, and some have two."
//! cargo run --release --features service --example speak -- out.wav "Hello." alto.pth hubert_base.pt
//! ```
//!
//! Without a voice it takes the small untrained one of the tests, which sounds like noise. The program tells when the
//! first converted audio was there, and when the last was. `syrinx speak` does the same and more.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use syrinx::nn::Cpu;
use syrinx::params::ConversionParams;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::tts::{ConvertedSpeech, Heard, Manner, OwnPitch, SourceChoice, Speaker, Speech};
use syrinx::units::Recording;

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
        rate_hz: voice.sample_rate_hz(),
        timing: Timing { chunk: 0.1, crossfade: 0.04, context: 1.0 },
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    let params = ConversionParams { rms_mix_rate: 0.0, ..ConversionParams::default() };
    let own_hz = voice.pitch_hz();
    let stream = Stream::new(voice, settings, &params)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let source = SourceChoice { source: "espeak-ng".into(), ..SourceChoice::default() }.open()?;
    let speaker = Speaker::of(&*source, &Manner::default());
    // Brought to the voice's own pitch, where the voice tells it.
    let own_pitch = own_hz.map(|hz| OwnPitch::new(hz, speaker, Arc::default()));
    let began = Instant::now();
    let speech = Speech::of_text(runtime.handle(), source, &text, Manner::default());
    let mut voice = ConvertedSpeech::new(speech, stream, params, own_pitch)?;
    let (mut samples, mut first) = (Vec::new(), None);
    loop {
        match voice.next(runtime.handle(), Duration::from_secs(30))? {
            Heard::Voice(more) => {
                first.get_or_insert_with(|| began.elapsed());
                samples.extend_from_slice(more);
            }
            Heard::Waiting => return Err("nothing is said any more".into()),
            Heard::End => break,
        }
    }
    let first = first.ok_or("nothing was said")?;
    let recording = Recording { samples, sample_rate_hz: voice.rate_hz() };
    println!("first converted audio after {:.0} ms", first.as_secs_f64() * 1e3);
    println!("all {:.2} s of it after {:.0} ms", recording.seconds(), began.elapsed().as_secs_f64() * 1e3);
    write(&output, &recording, Encoding::new(Container::Wav, SampleFormat::Int(16), Quantise::Round)?)?;
    println!("{}", output.display());
    Ok(())
}
