//! Voices that change while audio runs: what comes and goes with them is none of the callback's to allocate or free.

use std::path::Path;
use std::time::{Duration, Instant};

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::live::{DeviceFormat, Null};
use syrinx::live::{
    Cause, Command, Control, Session, SessionEvent, SessionSettings, Setting, Slot, SlotParams, Switch,
};
use syrinx::nn::Cpu;

use crate::support::{RATE_HZ, noise};

/// The small voice of version 1, and again with an index, an octave higher.
fn slots() -> Vec<Slot<Cpu>> {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let mut engine = Engine::<Cpu>::new(Default::default());
    let mut slot = |index: Option<&str>, transpose_semitones| {
        let files = ModelFiles {
            voice: data("synth_small_v1_32k.pth"),
            index: index.map(data),
            encoder: data("hubert_small_v1.weights.safetensors"),
            tracker: TrackerFile::Yin,
        };
        let params = SlotParams { transpose_semitones, ..SlotParams::default() };
        Slot { name: "voice".into(), converter: engine.converter(&files).unwrap(), params }
    };
    vec![slot(None, 0.0), slot(Some("added_IVF15_Flat_nprobe_1_small_v1.index"), 12.0)]
}

#[test]
fn voices_settings_and_graphs_change_while_the_callback_neither_allocates_nor_frees() {
    const FIRST: usize = 240;
    const SECOND: usize = 480;
    let settings = SessionSettings {
        timing: Timing { chunk: 0.02, crossfade: 0.02, context: 0.2 },
        budget: Some(Duration::from_millis(20)),
        ..SessionSettings::default()
    };
    let format = DeviceFormat {
        rate_hz: RATE_HZ,
        block_frames: FIRST,
        max_block_frames: FIRST,
        inputs: 1,
        outputs: 2,
        input_latency_samples: 0,
        output_latency_samples: 0,
    };
    let (device, mut clock) = Null::new(format);
    // The callback waits for the voice, so that each of them is heard however slow the machine is.
    clock.set_freewheel(true);
    let mut control = Control::new(slots(), &settings).unwrap();
    let mut session = Session::start(Box::new(device), control.converter(), &settings).unwrap();
    let (captured, mut left, mut right) = (noise(5, SECOND), vec![0.0; SECOND], vec![0.0; SECOND]);
    let (mut changes, mut rebuilt, mut loudest) = (0, 0, 0.0_f32);
    let start = Instant::now();
    for block in 0.. {
        if changes >= 60 && rebuilt > 0 {
            break;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "{changes} voices, {rebuilt} graphs");
        let frames = if changes < 30 { FIRST } else { SECOND };
        // A change that has not been taken yet waits; then there is no other.
        if block % 4 == 0 {
            control.apply(Command::Slot(1 + changes % 2), &mut session).unwrap();
            changes += 1;
        }
        for command in [
            Command::Set(Setting::GateThreshold, -60.0 + (block % 50) as f32),
            Command::Set(Setting::HighPassCutoff, 20.0 + (block * 37 % 1900) as f32),
            Command::Set(Setting::Ceiling, -1.0 - (block % 30) as f32),
            Command::Switch(Switch::Gate, block % 16 > 8),
            Command::Toggle(Switch::HighPass),
        ] {
            control.apply(command, &mut session).unwrap();
        }
        // Aborts where the callback allocates or frees.
        clock.block(&[&captured[..frames]], &mut [&mut left[..frames], &mut right[..frames]]);
        assert!(left[..frames] == right[..frames] && left[..frames].iter().all(|x| x.abs() <= 1.0));
        loudest = left[..frames].iter().fold(loudest, |most, x| most.max(x.abs()));
        while let Some(event) = session.next_event() {
            let is_rebuilt = |cause: &Cause| *cause == Cause::OtherBlock { frames: SECOND };
            rebuilt += usize::from(matches!(&event, SessionEvent::Rebuilt { cause, .. } if is_rebuilt(cause)));
        }
    }
    let telemetry = session.telemetry();
    assert_eq!((telemetry.worker.failed, telemetry.graph.node_panics, telemetry.graph.callback_panics), (0, 0, 0));
    assert!(telemetry.worker.chunks > 60 && loudest > 0.01, "{loudest} {telemetry:?}");
    drop(session);
}
