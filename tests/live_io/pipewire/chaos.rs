//! Cards that are pulled out, servers that die, defaults that change.

use std::time::Duration;

use syrinx::io::live::{Backend, Choice, DeviceEvent, DeviceState, RunningDevice, SoundCard};

use super::rig::{Rig, card, plug, prefer, unplug, with_environment};
use crate::server::wait_until;
use crate::support::{Control, limited};

const LONG: Duration = Duration::from_secs(40);

fn running(mut card: SoundCard) -> (Control, RunningDevice) {
    let device = card.open().expect("a card");
    let (control, processor) = limited(device.format());
    let device = device.start(processor);
    calls_back(&device);
    (control, device)
}

fn calls_back(device: &RunningDevice) {
    let callbacks = device.telemetry().callbacks;
    wait_until("it calls back", LONG, || device.telemetry().callbacks > callbacks + 20);
}

#[test]
fn a_daemon_that_is_killed_and_restarted_finds_its_streams_back() {
    with_environment("pipewire::chaos::a_daemon_that_is_killed_and_restarted_finds_its_streams_back", || {
        let rig = Rig::start(512);
        let (mut control, device) = running(card(512));
        rig.kill();
        assert!(device.wait_for(DeviceState::Lost, LONG));
        let before = control.handle.telemetry().frames;
        wait_until("silence in its place", LONG, || control.handle.telemetry().frames > before + 24_000);
        let _rig = Rig::start(512);
        assert!(device.wait_for(DeviceState::Running, LONG));
        calls_back(&device);
        let stopped = device.stop();
        assert_eq!((stopped.telemetry.losses, stopped.telemetry.returns), (1, 1));
        assert!(stopped.processor.is_some());
    });
}

#[test]
fn a_card_that_is_pulled_out_and_put_back_is_called_back_by_its_name() {
    with_environment("pipewire::chaos::a_card_that_is_pulled_out_and_put_back_is_called_back_by_its_name", || {
        let _rig = Rig::start(512);
        let handle = plug("Headset", 2);
        let (_control, device) =
            running(SoundCard { output: Choice::Named("headset".into()), output_channels: Vec::new(), ..card(512) });
        assert_eq!((device.format().inputs, device.format().outputs), (1, 2));
        unplug(&handle);
        assert!(device.wait_for(DeviceState::Lost, LONG));
        let reason = std::iter::from_fn(|| device.next_event())
            .find_map(|event| if let DeviceEvent::Lost { reason } = event { Some(reason) } else { None });
        println!("lost: {reason:?}");
        plug("Headset", 2);
        assert!(device.wait_for(DeviceState::Running, LONG));
        calls_back(&device);
        assert!(device.stop().processor.is_some());
    });
}

#[test]
fn a_default_card_that_changes_takes_the_stream_along() {
    with_environment("pipewire::chaos::a_default_card_that_changes_takes_the_stream_along", || {
        let _rig = Rig::start(512);
        plug("Other", 2);
        prefer("M");
        let (_control, device) =
            running(SoundCard { output: Choice::Default, output_channels: Vec::new(), ..card(512) });
        prefer("Other");
        let mut moved = false;
        wait_until("it is told", LONG, || {
            moved |= std::iter::from_fn(|| device.next_event()).any(|event| event == DeviceEvent::Moved);
            moved
        });
        calls_back(&device);
        assert_eq!(device.telemetry().state, DeviceState::Running);
        assert!(device.stop().processor.is_some());
    });
}
