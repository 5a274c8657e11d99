//! The receiving end of audio that has a moment at which to be heard.
//!
//! Where both ends share a clock ([`AfterGap::KeepTime`]), every sample that is sent belongs to one moment: `lead`
//! samples after the moment at which the sample of its number entered on the other side. A sample that arrives after its
//! moment is dropped, unheard, so that delay cannot accumulate: after any interruption the next sample that is on time
//! is heard at its moment. Between two clocks ([`AfterGap::Refill`]) there is no such moment, and `lead` samples are
//! gathered anew. What is missing is silence, entered and left without a click:
//!
//! ```text
//! out = held * release + audio * attack
//! ```
//!
//! When audio runs out, `held` takes the last value put out and `release` falls from 1 to 0 over the fade; when it
//! comes back, `attack` rises from 0 to 1.

use super::ring::AudioRx;

/// How a [`Playout`] keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutSettings {
    /// Samples of silence before the first sample that was sent: the time in which the sender may be late.
    pub lead_samples: usize,
    /// Length of the fades around a gap, in samples, at least 1.
    pub fade_samples: usize,
    /// What happens when audio comes back.
    pub after_gap: AfterGap,
}

/// What happens when audio comes back after a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterGap {
    /// What is late is dropped, so that each later sample is heard at its moment.
    KeepTime,
    /// Nothing is heard until the lead has gathered again.
    Refill,
}

/// How often and for how long audio was missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starvation {
    /// Gaps.
    pub times: u64,
    /// Samples that were silent since theirs had not arrived.
    pub samples: u64,
    /// Samples that arrived too late and were dropped.
    pub late_samples: u64,
}

/// A receiver that always delivers, at the right moment or not at all.
#[derive(Debug)]
pub struct Playout {
    rx: AudioRx,
    settings: PlayoutSettings,
    /// Silence still to be put out before the first sample.
    lead: usize,
    /// Whether the lead is being gathered.
    refilling: bool,
    /// Samples whose moment has passed and that have not arrived.
    owed: usize,
    /// Samples that will never arrive and whose moment is still to come.
    forgiven: usize,
    starving: bool,
    /// Whether something should have been heard by now: silence before is no gap.
    heard: bool,
    held: f32,
    release: f32,
    attack: f32,
    last: f32,
    /// A jump that is asked for: samples to leave out.
    skip: usize,
    counts: Starvation,
}

impl Playout {
    /// Plays what arrives at `rx`.
    #[must_use]
    pub fn new(rx: AudioRx, settings: PlayoutSettings) -> Self {
        let settings = PlayoutSettings { fade_samples: settings.fade_samples.max(1), ..settings };
        Self {
            rx,
            settings,
            lead: if settings.after_gap == AfterGap::KeepTime { settings.lead_samples } else { 0 },
            refilling: settings.after_gap == AfterGap::Refill,
            owed: 0,
            forgiven: 0,
            starving: false,
            heard: settings.after_gap == AfterGap::KeepTime,
            held: 0.0,
            release: 0.0,
            attack: 1.0,
            last: 0.0,
            skip: 0,
            counts: Starvation::default(),
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> PlayoutSettings {
        self.settings
    }

    /// What was missing so far.
    #[must_use]
    pub fn starvation(&self) -> Starvation {
        self.counts
    }

    /// Samples that have arrived and wait for their moment.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.rx.available().saturating_sub(self.owed)
    }

    /// Samples that must still arrive before a block of `frames` can be heard without a gap.
    #[must_use]
    pub fn missing(&self, frames: usize) -> usize {
        (frames.saturating_sub(self.lead) + self.owed).saturating_sub(self.rx.available() + self.forgiven)
    }

    /// Whether nothing is heard, since audio is missing.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.starving || self.refilling
    }

    /// Whether the sender is gone and nothing more will come.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.rx.is_abandoned()
    }

    /// Takes note that a sender of the same clock left out `samples` samples for good: they are not waited for.
    pub fn forgive(&mut self, samples: usize) {
        let settled = samples.min(self.owed);
        self.owed -= settled;
        self.forgiven += samples - settled;
    }

    /// Leaves out the oldest `samples` samples with the next block, cross-faded over the fade's length.
    ///
    /// For a receiver whose own clock stood still; it moves every later sample to an earlier moment.
    pub fn drop_oldest(&mut self, samples: usize) {
        self.skip += samples;
    }

    /// Fills `out`, whatever has arrived; returns how many samples were missing.
    pub fn pull(&mut self, out: &mut [f32]) -> usize {
        let lead = self.lead.min(out.len());
        out[..lead].fill(0.0);
        self.lead -= lead;
        let out = &mut out[lead..];
        let late = self.rx.discard(self.owed);
        self.owed -= late;
        self.counts.late_samples += late as u64;
        self.jump();
        self.refilling &= self.rx.available() < self.settings.lead_samples;
        let there = if self.owed == 0 && !self.refilling { self.rx.pop(out) } else { 0 };
        let (heard, missed) = out.split_at_mut(there);
        if !heard.is_empty() {
            self.starving = false;
            self.heard = true;
            self.play(heard);
        }
        if !missed.is_empty() {
            self.starve(missed);
        }
        missed.len()
    }

    fn step(&self) -> f32 {
        1.0 / self.settings.fade_samples as f32
    }

    /// Audio, faded in if there was a gap.
    fn play(&mut self, heard: &mut [f32]) {
        let step = self.step();
        for sample in heard.iter_mut() {
            if self.attack >= 1.0 && self.release <= 0.0 {
                break;
            }
            self.attack = (self.attack + step).min(1.0);
            self.release = (self.release - step).max(0.0);
            *sample = self.held * self.release + *sample * self.attack;
        }
        self.last = heard.last().copied().unwrap_or(self.last);
    }

    /// Silence, after the last value has faded out.
    fn starve(&mut self, missed: &mut [f32]) {
        if !self.starving {
            self.starving = true;
            self.counts.times += u64::from(self.heard);
            (self.held, self.release, self.attack) = (self.last, 1.0, 0.0);
        }
        let step = self.step();
        for sample in missed.iter_mut() {
            self.release = (self.release - step).max(0.0);
            *sample = self.held * self.release;
        }
        self.last = missed.last().copied().unwrap_or(self.last);
        self.counts.samples += if self.heard { missed.len() as u64 } else { 0 };
        if self.settings.after_gap == AfterGap::Refill {
            self.refilling = true;
            return;
        }
        let never = missed.len().min(self.forgiven);
        self.forgiven -= never;
        self.owed += missed.len() - never;
    }

    /// Does the jump that was asked for, once enough has arrived to fade across it.
    fn jump(&mut self) {
        let skip = self.skip;
        if skip == 0 || self.owed > 0 || self.rx.available() < skip {
            return;
        }
        self.skip = 0;
        // The last value fades out while the audio behind the jump fades in.
        self.rx.discard(skip);
        (self.held, self.release, self.attack) = (self.last, 1.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::ring::{AudioTx, audio_ring};

    const FADE: usize = 32;

    fn playout(lead_samples: usize) -> (AudioTx, Playout) {
        let (tx, rx) = audio_ring(4096);
        (tx, Playout::new(rx, PlayoutSettings { lead_samples, fade_samples: FADE, after_gap: AfterGap::KeepTime }))
    }

    fn pull(playout: &mut Playout, count: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; count];
        playout.pull(&mut out);
        out
    }

    #[test]
    fn what_is_on_time_comes_out_bit_for_bit_after_the_lead() {
        let (mut tx, mut playout) = playout(10);
        let sent: Vec<f32> = (1..=100).map(|n| n as f32).collect();
        tx.push(&sent);
        assert_eq!(playout.missing(110), 0);
        assert_eq!(playout.missing(111), 1);
        assert_eq!(pull(&mut playout, 7), [0.0; 7]);
        assert_eq!(pull(&mut playout, 3), [0.0; 3]);
        assert_eq!(pull(&mut playout, 100), sent);
        assert_eq!(playout.starvation(), Starvation::default());
    }

    #[test]
    fn after_a_gap_each_sample_is_again_at_its_moment() {
        let (mut tx, mut playout) = playout(0);
        let number = |from: usize, to: usize| (from..to).map(|n| n as f32).collect::<Vec<_>>();
        tx.push(&number(0, 100));
        let mut out = pull(&mut playout, 150);
        tx.push(&number(100, 120));
        out.extend(pull(&mut playout, 50));
        tx.push(&number(120, 400));
        out.extend(pull(&mut playout, 200));
        assert_eq!(out[..100], number(0, 100));
        // Heard again from 200 on, at full level after the fade.
        assert_eq!(out[200 + FADE..], number(200 + FADE, 400));
        assert_eq!(playout.starvation(), Starvation { times: 1, samples: 100, late_samples: 100 });
    }

    #[test]
    fn a_gap_of_any_length_makes_no_click() {
        for gap in [1, 5, FADE - 1, FADE, 3 * FADE] {
            let (mut tx, mut playout) = playout(0);
            let tone: Vec<f32> = (0..20 * 64 + gap).map(|n| (n as f32 * 0.02).sin()).collect();
            let (before, after) = tone.split_at(10 * 64);
            tx.push(before);
            // The sender is late by the gap.
            let mut out = pull(&mut playout, before.len() + gap);
            tx.push(after);
            out.extend(pull(&mut playout, after.len() - gap));
            let step = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            // The tone's own slope, and two fades of at most its level.
            assert!(step < 0.02 + 2.0 / FADE as f32, "gap {gap}: {step}");
            assert_eq!(playout.starvation().times, 1);
        }
    }

    #[test]
    fn between_two_clocks_the_lead_is_gathered_before_anything_is_heard() {
        let (mut tx, rx) = audio_ring(4096);
        let settings = PlayoutSettings { lead_samples: 100, fade_samples: FADE, after_gap: AfterGap::Refill };
        let mut playout = Playout::new(rx, settings);
        for round in 0..2 {
            tx.push(&[1.0; 99]);
            assert_eq!(pull(&mut playout, 64)[FADE..], [0.0; 64 - FADE], "round {round}");
            tx.push(&[1.0; 101]);
            let heard = pull(&mut playout, 264);
            assert_eq!(heard[FADE..200], [1.0; 200 - FADE]);
            assert_eq!(
                playout.starvation(),
                Starvation { times: round + 1, samples: 64 + 128 * round, late_samples: 0 }
            );
        }
    }

    #[test]
    fn what_the_sender_left_out_is_not_waited_for() {
        let (mut tx, mut playout) = playout(0);
        tx.push(&[1.0; 50]);
        pull(&mut playout, 80);
        playout.forgive(20);
        // Ten of the thirty missing samples are late, the rest never comes.
        tx.push(&[2.0; 110]);
        let out = pull(&mut playout, 100);
        assert_eq!(out[FADE..], [2.0; 100 - FADE]);
        assert_eq!(playout.starvation().late_samples, 10);
        assert_eq!(playout.waiting(), 0);
    }

    #[test]
    fn a_jump_over_the_oldest_audio_is_smooth_and_exact() {
        let (mut tx, mut playout) = playout(0);
        let tone = |n: usize| (n as f32 * 0.02).sin();
        tx.push(&(0..1000).map(tone).collect::<Vec<_>>());
        let mut out = pull(&mut playout, 100);
        playout.drop_oldest(157);
        out.extend(pull(&mut playout, 300));
        let step = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.02 + 2.0 / FADE as f32, "{step}");
        assert_eq!(out[100 + FADE], tone(100 + 157 + FADE));
        assert_eq!(playout.starvation(), Starvation::default());
    }
}
