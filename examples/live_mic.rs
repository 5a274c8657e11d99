//! A microphone through a voice to the loudspeaker, until Enter is pressed.
//!
//! ```sh
//! cargo run --release --features cpal --example live_mic -- alto.pth hubert_base.pt
//! ```
//!
//! Use headphones: a loudspeaker that the microphone hears is converted again and again.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::io::live::SoundCard;
use syrinx::live::{Session, SessionSettings};
use syrinx::nn::Cpu;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(voice), Some(encoder)) = (arguments.next(), arguments.next()) else {
        return Err("give a voice (.pth) and a content encoder (hubert_base.pt or a Hugging Face folder)".into());
    };
    // Everything slow happens here, before audio runs.
    let models =
        ModelFiles { voice: voice.into(), index: None, encoder: encoder.into(), tracker: TrackerFile::SwiftF0 };
    let voice = Engine::<Cpu>::new(Default::default()).converter(&models)?;

    // The default devices, at what rate and block they like best.
    let mut session = Session::start(Box::new(SoundCard::default()), voice, &SessionSettings::default())?;
    let (rate_hz, latency) = (f64::from(session.device().format().rate_hz), session.latency());
    println!("{rate_hz} Hz, {:.0} ms from mouth to ear. Enter ends it.", latency.total() as f64 / rate_hz * 1e3);

    let over = Arc::new(AtomicBool::new(false));
    let pressed = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        pressed.store(true, Ordering::Relaxed);
    });
    while !over.load(Ordering::Relaxed) {
        // Reading events is also what keeps the session going when a device goes and comes back.
        while let Some(event) = session.next_event() {
            println!("{event:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let telemetry = session.telemetry();
    println!(
        "{} chunks, {} late, {} xruns",
        telemetry.worker.chunks, telemetry.link.starvation.times, telemetry.device.xruns
    );
    session.stop().problem.map_or(Ok(()), |problem| Err(problem.into()))
}
