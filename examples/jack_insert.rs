//! A voice as an insert of a DAW: one port in, one port out, and the delay told to JACK, so that the DAW compensates it.
//!
//! ```sh
//! cargo run --release --features jack --example jack_insert -- alto.pth hubert_base.pt
//! jack_connect "Ardour:vocals/send 1/audio_out 1" syrinx:voice_in
//! jack_connect syrinx:voice_out "Ardour:vocals/return 1/audio_in 1"
//! ```
//!
//! It ends with its standard input (Ctrl-D), and bounces faster than real time where the DAW asks for it (freewheel).

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::io::live::Jack;
use syrinx::live::{Session, SessionSettings};
use syrinx::nn::Cpu;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(voice), Some(encoder)) = (arguments.next(), arguments.next()) else {
        return Err("give a voice (.pth) and a content encoder (hubert_base.pt or a Hugging Face folder)".into());
    };
    let models =
        ModelFiles { voice: voice.into(), index: None, encoder: encoder.into(), tracker: TrackerFile::SwiftF0 };
    let voice = Engine::<Cpu>::new(Default::default()).converter(&models)?;

    let insert = Jack {
        client: "syrinx".into(),
        inputs: vec!["voice_in".into()],
        outputs: vec!["voice_out".into()],
        // Ports to be connected with could be named by pattern; the DAW does that for an insert.
        capture: Vec::new(),
        play: Vec::new(),
        midi: None,
    };
    let mut session = Session::start(Box::new(insert), voice, &SessionSettings::default())?;
    let graph = session.latency().algorithmic + session.latency().processing;
    println!("syrinx:voice_in -> syrinx:voice_out, {graph} samples later");

    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.store(true, Ordering::Relaxed);
    });
    while !over.load(Ordering::Relaxed) {
        // Servers that die and return, blocks that change: the session sees to it, and tells.
        while let Some(event) = session.next_event() {
            println!("{event:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    session.stop().problem.map_or(Ok(()), |problem| Err(problem.into()))
}
