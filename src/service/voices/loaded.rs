//! Voices in memory: loaded once however many want one, and the longest unused let go when memory is short.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::index::Index;
use crate::checkpoint::pitch::PitchNetwork;
use crate::checkpoint::store::{ModelsDirectory, own_encoder};
use crate::checkpoint::voice::VoiceCheckpoint;
use crate::engine::{Engine, TrackerFile};
use crate::error::{Error, Result};
use crate::nn::Cpu;
use crate::nn::synthesizer::Synthesizer;
use crate::params::PitchMethod;
use crate::path::Converter;
use crate::path::retrieval::Retrieval;

/// A voice without encoder and tracker, which all voices share.
#[derive(Clone)]
struct Loaded {
    voice: Arc<Synthesizer<Cpu>>,
    retrieval: Option<Arc<Retrieval<Cpu>>>,
    bytes: u64,
}

/// The place of one voice: whoever comes while it is being loaded waits for it.
#[derive(Default)]
struct Slot {
    loaded: Mutex<Option<Loaded>>,
    used: AtomicU64,
}

/// What loading has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadedCounts {
    /// Voices in memory.
    pub voices: usize,
    /// Bytes that they take.
    pub bytes: u64,
    /// Times that a voice was made ready by reading it.
    pub loads: u64,
    /// Times that a voice was there already.
    pub hits: u64,
    /// Times that a voice was let go.
    pub evictions: u64,
    /// Time that all loads took, each until the voice could convert.
    pub load_time: Duration,
    /// Time that the latest load took.
    pub last_load: Duration,
    /// Time that it took to come by voices that were there already.
    pub hit_time: Duration,
    /// The latest of it.
    pub last_hit: Duration,
}

/// Voices in memory, up to a budget.
pub struct LoadedVoices {
    engine: Mutex<Engine<Cpu>>,
    encoder: Option<PathBuf>,
    budget_bytes: u64,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// Those that stay, however short memory is.
    pinned: Mutex<HashSet<String>>,
    clock: AtomicU64,
    loads: Tally,
    hits: Tally,
    evictions: AtomicU64,
}

/// How often something was done, and how long it took.
#[derive(Default)]
struct Tally {
    count: AtomicU64,
    total_ns: AtomicU64,
    last_ns: AtomicU64,
}

impl Tally {
    fn note(&self, took: Duration) {
        let took_ns = took.as_nanos() as u64;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total_ns.fetch_add(took_ns, Ordering::Relaxed);
        self.last_ns.store(took_ns, Ordering::Relaxed);
    }

    /// Count, total and latest time.
    fn read(&self) -> (u64, Duration, Duration) {
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        (self.count.load(Ordering::Relaxed), time(&self.total_ns), time(&self.last_ns))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A load that panicked has left nothing behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoadedVoices {
    /// Nothing is loaded yet. `encoder` is found in the models folder where none is given.
    #[must_use]
    pub fn new(encoder: Option<PathBuf>, budget_bytes: u64) -> Self {
        Self {
            engine: Mutex::new(Engine::new(Default::default())),
            encoder,
            budget_bytes,
            slots: Mutex::default(),
            pinned: Mutex::default(),
            clock: AtomicU64::new(0),
            loads: Tally::default(),
            hits: Tally::default(),
            evictions: AtomicU64::new(0),
        }
    }

    /// A converter over the voice `id`, whose files are these. To be called by a thread, not by a task: it may take
    /// seconds.
    ///
    /// # Errors
    /// Files that cannot be loaded, an encoder or a tracker that is nowhere or does not fit.
    pub fn converter(
        &self,
        id: &str,
        files: &(PathBuf, Option<PathBuf>),
        method: Option<PitchMethod>,
    ) -> Result<Converter<Cpu>> {
        let started = Instant::now();
        let slot = lock(&self.slots).entry(id.to_owned()).or_default().clone();
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let (loaded, tally) = {
            let mut place = lock(&slot.loaded);
            if let Some(loaded) = &*place {
                (loaded.clone(), &self.hits)
            } else {
                (place.insert(load(&files.0, files.1.as_deref())?).clone(), &self.loads)
            }
        };
        self.let_go(id);
        let folder = ModelsDirectory::of_user()?;
        let shared = || self.encoder.clone().map_or_else(|| folder.shared_encoder(None), Ok);
        let encoder = own_encoder(&files.0).map_or_else(shared, Ok)?;
        let tracker = tracker(&folder, method)?;
        let converter = lock(&self.engine).around(loaded.voice, loaded.retrieval, &encoder, &tracker)?;
        tally.note(started.elapsed());
        Ok(converter)
    }

    /// Has a voice stay from its first use on, however short memory is.
    pub fn pin(&self, id: &str) {
        lock(&self.pinned).insert(id.to_owned());
    }

    /// Lets the longest unused go until the rest fits; who uses one keeps it. `latest` and those that are pinned stay.
    fn let_go(&self, latest: &str) {
        let pinned = lock(&self.pinned);
        let mut slots = lock(&self.slots);
        loop {
            let bytes = |slot: &Slot| slot.loaded.try_lock().ok().and_then(|place| Some(place.as_ref()?.bytes));
            let total: u64 = slots.values().filter_map(|slot| bytes(slot)).sum();
            if total <= self.budget_bytes {
                return;
            }
            let goes = |id: &String| id != latest && !pinned.contains(id);
            let candidates = slots.iter().filter(|(id, slot)| goes(id) && bytes(slot).is_some());
            let oldest = candidates.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed)).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return };
            slots.remove(&oldest);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets a voice go that was deleted.
    pub fn forget(&self, id: &str) {
        lock(&self.pinned).remove(id);
        lock(&self.slots).remove(id);
    }

    /// Whether a voice is in memory.
    #[must_use]
    pub fn holds(&self, id: &str) -> bool {
        let slot = lock(&self.slots).get(id).cloned();
        slot.is_some_and(|slot| slot.loaded.try_lock().is_ok_and(|place| place.is_some()))
    }

    /// What loading has come to.
    #[must_use]
    pub fn counts(&self) -> LoadedCounts {
        let loaded: Vec<u64> = lock(&self.slots)
            .values()
            .filter_map(|slot| slot.loaded.try_lock().ok().and_then(|place| Some(place.as_ref()?.bytes)))
            .collect();
        let (loads, load_time, last_load) = self.loads.read();
        let (hits, hit_time, last_hit) = self.hits.read();
        LoadedCounts {
            voices: loaded.len(),
            bytes: loaded.iter().sum(),
            loads,
            hits,
            evictions: self.evictions.load(Ordering::Relaxed),
            load_time,
            last_load,
            hit_time,
            last_hit,
        }
    }

    /// Bytes that voices may take.
    #[must_use]
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Whether a content encoder can be found for voices that bring none.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Io`] if it cannot.
    pub fn check_encoder(&self) -> Result<()> {
        match &self.encoder {
            Some(encoder) => std::fs::metadata(encoder).map(|_| ()).map_err(|source| Error::io(encoder, source)),
            None => ModelsDirectory::of_user()?.shared_encoder(None).map(|_| ()),
        }
    }
}

fn load(voice: &Path, index: Option<&Path>) -> Result<Loaded> {
    let device = Default::default();
    let checkpoint = VoiceCheckpoint::open(voice)?;
    let parameters: usize = checkpoint.tensors.iter().map(|(_, tensor)| tensor.len()).sum();
    let unit_dim = checkpoint.config.unit_dim;
    let voice = Arc::new(Synthesizer::load(&checkpoint.tensors.weights(), &checkpoint.config, &device)?);
    let index = index.map(Index::open).transpose()?.map(Arc::new);
    let rows = index.as_ref().map_or(0, |index| index.rows() * unit_dim);
    let retrieval = index.map(|index| Retrieval::new(index, unit_dim, &device).map(Arc::new)).transpose()?;
    // Weights are computed with as 32-bit numbers.
    Ok(Loaded { voice, retrieval, bytes: 4 * (parameters + rows) as u64 })
}

fn tracker(folder: &ModelsDirectory, method: Option<PitchMethod>) -> Result<TrackerFile> {
    let network = |network, tiny| Ok::<_, Error>(TrackerFile::Network(network, folder.pitch(None, network, tiny)?));
    match method {
        None => Ok(network(PitchNetwork::Rmvpe, false).unwrap_or(TrackerFile::SwiftF0)),
        Some(PitchMethod::Rmvpe) => network(PitchNetwork::Rmvpe, false),
        Some(PitchMethod::Fcpe) => network(PitchNetwork::Fcpe, false),
        Some(PitchMethod::Crepe) => network(PitchNetwork::Crepe, false),
        Some(PitchMethod::CrepeTiny) => network(PitchNetwork::Crepe, true),
        Some(PitchMethod::Swift) => Ok(TrackerFile::SwiftF0),
        Some(PitchMethod::Yin) => Ok(TrackerFile::Yin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    fn voices(budget_bytes: u64) -> LoadedVoices {
        LoadedVoices::new(Some(data("hubert_small_v1.weights.safetensors")), budget_bytes)
    }

    fn files() -> (PathBuf, Option<PathBuf>) {
        (data("synth_small_v1_32k.pth"), Some(data("added_IVF15_Flat_nprobe_1_small_v1.index")))
    }

    #[test]
    fn a_voice_is_loaded_once_however_many_want_it_at_once() {
        let voices = voices(u64::MAX);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| voices.converter("a", &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice"));
            }
        });
        let counts = voices.counts();
        assert_eq!((counts.loads, counts.hits, counts.voices), (1, 7, 1));
        assert!(counts.load_time == counts.last_load && counts.hit_time >= counts.last_hit, "{counts:?}");
        assert!(counts.last_load > Duration::ZERO && counts.last_hit > Duration::ZERO, "{counts:?}");
        assert!(counts.bytes > 10_000, "{counts:?}");
    }

    #[test]
    fn the_longest_unused_goes_when_memory_is_short_and_who_uses_it_keeps_it() {
        let one = voices(u64::MAX);
        one.converter("a", &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice");
        let voices = voices(2 * one.counts().bytes);
        let load = |id: &str| voices.converter(id, &files(), Some(PitchMethod::Yin)).expect("a voice");
        let kept = load("a");
        load("b");
        load("a");
        load("c");
        assert!(voices.holds("a") && !voices.holds("b") && voices.holds("c"));
        assert_eq!(voices.counts().evictions, 1);
        voices.forget("a");
        assert!(!voices.holds("a"));
        assert_eq!(kept.sample_rate_hz(), 32_000);
    }

    #[test]
    fn a_voice_that_is_pinned_stays_until_it_is_deleted() {
        let one = voices(u64::MAX);
        one.converter("a", &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice");
        let voices = voices(one.counts().bytes);
        voices.pin("a");
        for id in ["a", "b", "c"] {
            voices.converter(id, &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice");
        }
        assert!(voices.holds("a") && !voices.holds("b") && voices.holds("c"));
        voices.forget("a");
        for id in ["a", "b"] {
            voices.converter(id, &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice");
        }
        assert!(!voices.holds("a") && voices.holds("b"));
    }

    #[test]
    fn a_voice_that_cannot_be_loaded_leaves_no_trace() {
        let voices = voices(u64::MAX);
        assert!(voices.converter("a", &(data("none.pth"), None), None).is_err());
        assert_eq!(voices.counts().voices, 0);
        voices.converter("a", &files(), Some(PitchMethod::Yin)).map(|_| ()).expect("a voice");
    }
}
