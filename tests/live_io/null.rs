//! The device clocked by hand, and what every device does when it is lost.

use std::time::Duration;

use syrinx::io::live::{Backend, DeviceEvent, DeviceState, Null};

use crate::support::{limited, mono, noise};

#[test]
fn audio_passes_exactly_late_by_the_latency_that_is_reported() {
    let (mut backend, mut clock) = Null::new(mono(64));
    let device = backend.open().unwrap();
    let (mut played, captured) = (vec![f32::NAN; 9600], noise(1, 9600));
    // Open but not started, it is silent.
    clock.block(&[&captured[..64]], &mut [&mut played[..64]]);
    assert_eq!((&played[..64], device.telemetry().state), (&[0.0; 64][..], DeviceState::Silent));

    let (control, processor) = limited(device.format());
    let device = device.start(processor);
    for (captured, played) in captured.chunks(64).zip(played.chunks_mut(64)) {
        clock.block(&[captured], &mut [played]);
    }
    let latency = control.latency_samples;
    assert_eq!(played[latency..], captured[..9600 - latency]);
    let telemetry = device.telemetry();
    assert_eq!((telemetry.graph_latency_samples, telemetry.latency_samples()), (72, 72));
    assert_eq!((telemetry.callbacks, telemetry.frames, telemetry.state), (151, 9664, DeviceState::Running));
    assert!(device.stop().processor.is_some());
}

#[test]
fn a_block_that_changes_is_counted_and_changes_no_bit() {
    let (mut backend, mut clock) = Null::new(mono(64));
    let device = backend.open().unwrap();
    let (control, processor) = limited(device.format());
    let device = device.start(processor);
    let (mut played, captured) = (vec![f32::NAN; 6000], noise(2, 6000));
    let mut start = 0;
    for block in [64, 64, 2048, 2048, 1, 1, 37].into_iter().cycle() {
        let end = (start + block).min(6000);
        clock.block(&[&captured[start..end]], &mut [&mut played[start..end]]);
        start = end;
        if start == 6000 {
            break;
        }
    }
    assert_eq!(played[72..], captured[..6000 - 72]);
    assert!(device.telemetry().block_changes >= 4);
    drop(control);
}

#[test]
fn a_lost_device_is_silent_and_told_and_goes_on_with_the_same_processor_when_it_returns() {
    let (mut backend, mut clock) = Null::new(mono(64));
    let device = backend.open().unwrap();
    let (mut control, processor) = limited(device.format());
    let device = device.start(processor);
    let play = |clock: &mut syrinx::io::live::NullClock| {
        let mut played = [f32::NAN; 64];
        clock.block(&[&[0.25; 64]], &mut [&mut played]);
        played[63]
    };
    for _ in 0..4 {
        play(&mut clock);
    }
    assert_eq!(play(&mut clock), 0.25);
    clock.lose("unplugged");
    assert_eq!((play(&mut clock), device.telemetry().state), (0.0, DeviceState::Lost));
    assert_eq!(device.next_event(), Some(DeviceEvent::Lost { reason: "unplugged".into() }));
    clock.regain();
    assert_eq!((play(&mut clock), device.telemetry().state), (0.25, DeviceState::Running));
    assert_eq!(device.next_event(), Some(DeviceEvent::Returned { format: mono(64), after: Duration::ZERO }));
    clock.xrun();
    let telemetry = device.telemetry();
    assert_eq!((telemetry.losses, telemetry.returns, telemetry.xruns), (1, 1, 1));
    assert_eq!(control.handle.telemetry().callback_panics, 0);
}

#[test]
fn a_device_that_is_stopped_gives_its_processor_back_for_another() {
    let (mut backend, mut clock) = Null::new(mono(64));
    let device = backend.open().unwrap();
    let (control, processor) = limited(device.format());
    let processor = device.start(processor).stop().processor.expect("the processor");
    let mut played = [f32::NAN; 64];
    clock.block(&[&[0.25; 64]], &mut [&mut played]);
    assert_eq!(played, [0.0; 64]);
    assert!(backend.open().is_err());

    let (mut backend, mut clock) = Null::new(mono(128));
    let device = backend.open().unwrap().start(processor);
    let mut played = [f32::NAN; 128];
    clock.block(&[&[0.25; 128]], &mut [&mut played]);
    assert_eq!(played[127], 0.25);
    assert!(!control.handle.is_abandoned());
    drop(device);
    drop(clock);
    assert!(control.handle.is_abandoned());
}
