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

use std::collections::VecDeque;

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

/// Samples that the sender left out for good.
#[derive(Clone, Copy, Debug)]
struct Loss {
    /// Samples that arrive before them.
    at: u64,
    samples: usize,
}

/// Losses that are told apart; of more, the last ones count as one.
const LOSSES: usize = 64;

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
    /// Samples taken out of the ring so far, heard or not.
    taken: u64,
    /// Runs that will never arrive, the next first. Never grows beyond [`LOSSES`].
    losses: VecDeque<Loss>,
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
            taken: 0,
            losses: VecDeque::with_capacity(LOSSES),
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

    /// Samples that were taken out of the ring so far, heard or not.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Samples that must still arrive before a block of `frames` can be heard without a gap.
    #[must_use]
    pub fn missing(&self, frames: usize) -> usize {
        let never: usize = self.losses.iter().map(|loss| loss.samples).sum();
        (frames.saturating_sub(self.lead) + self.owed).saturating_sub(self.rx.available() + never)
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

    /// Takes note that a sender of the same clock left out `samples` samples for good, after `at` that it has sent in
    /// all: their moments pass in silence.
    pub fn forgive(&mut self, at: u64, samples: usize) {
        if samples == 0 {
            return;
        }
        let is_full = self.losses.len() == LOSSES;
        match self.losses.back_mut() {
            Some(last) if last.at >= at || is_full => last.samples += samples,
            _ => self.losses.push_back(Loss { at: at.max(self.taken), samples }),
        }
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
        let mut out = &mut out[lead..];
        let mut missing = 0;
        while !out.is_empty() {
            let lost = self.settle();
            if lost > 0 {
                let (silent, rest) = out.split_at_mut(lost.min(out.len()));
                self.starve(silent);
                self.losses[0].samples -= silent.len();
                missing += silent.len();
                out = rest;
                continue;
            }
            self.jump();
            self.refilling &= self.rx.available() < self.settings.lead_samples;
            let there = if self.owed == 0 && !self.refilling { self.take(out) } else { 0 };
            let (heard, rest) = out.split_at_mut(there);
            if there > 0 {
                self.starving = false;
                self.heard = true;
                self.play(heard);
            } else {
                self.starve(rest);
                self.owe(rest.len());
                return missing + rest.len();
            }
            out = rest;
        }
        missing
    }

    /// Drops what is late; returns how many samples of a loss have their moment now.
    fn settle(&mut self) -> usize {
        loop {
            let late = self.rx.discard(self.owed.min(self.before_loss()));
            self.taken += late as u64;
            self.owed -= late;
            self.counts.late_samples += late as u64;
            if self.before_loss() > 0 {
                return 0;
            }
            let loss = &mut self.losses[0];
            let past = loss.samples.min(self.owed);
            loss.samples -= past;
            self.owed -= past;
            if loss.samples > 0 {
                return loss.samples;
            }
            self.losses.pop_front();
        }
    }

    /// Samples that arrive before the next loss.
    fn before_loss(&self) -> usize {
        self.losses.front().map_or(usize::MAX, |loss| loss.at.saturating_sub(self.taken) as usize)
    }

    /// Takes what has arrived, up to the next loss.
    fn take(&mut self, out: &mut [f32]) -> usize {
        let most = out.len().min(self.before_loss());
        let there = self.rx.pop(&mut out[..most]);
        self.taken += there as u64;
        there
    }

    /// Takes note of samples that were not there at their moment.
    fn owe(&mut self, samples: usize) {
        match self.settings.after_gap {
            AfterGap::KeepTime => self.owed += samples,
            AfterGap::Refill => self.refilling = true,
        }
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
    }

    /// Does the jump that was asked for, once enough has arrived to fade across it.
    fn jump(&mut self) {
        let skip = self.skip;
        if skip == 0 || self.owed > 0 || self.rx.available() < skip {
            return;
        }
        self.skip = 0;
        // The last value fades out while the audio behind the jump fades in.
        self.taken += self.rx.discard(skip) as u64;
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
    fn what_the_sender_left_out_is_not_waited_for_and_what_comes_after_is_at_its_moment() {
        // Of the samples 0 to 400 those from `from` on are left out, and some are late.
        for (from, lost) in [(50, 20), (50, 200), (0, 30), (90, 1), (130, 70)] {
            let (mut tx, mut playout) = playout(0);
            let sent: Vec<f32> = (0..400).filter(|n| !(from..from + lost).contains(n)).map(|n| n as f32).collect();
            tx.push(&sent[..50]);
            let mut out = pull(&mut playout, 80);
            playout.forgive(from as u64, lost);
            tx.push(&sent[50..]);
            out.extend(pull(&mut playout, 320));
            let mut fading = 0;
            for (n, &value) in out.iter().enumerate() {
                // What was put out before the loss was known is late as it was.
                let is_lost = (from..from + lost).contains(&n) || n < 80;
                fading = if is_lost { FADE } else { fading.max(1) - 1 };
                assert!(is_lost || fading > 0 || value == n as f32, "{from}, {lost}: {value} at {n}");
            }
            assert_eq!(playout.waiting(), 0, "{from}, {lost}");
        }
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
