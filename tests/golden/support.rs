//! Reads recordings, regenerates seeded weights, compares.

use std::path::{Path, PathBuf};

use half::f16;
use safetensors::{Dtype, SafeTensors};
use syrinx::checkpoint::{Tensor, Tensors};

/// A file below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// One recorded case: named arrays.
pub struct Golden {
    bytes: Vec<u8>,
    name: String,
}

impl Golden {
    /// Opens `tests/data/{name}.safetensors`.
    pub fn open(name: &str) -> Self {
        Self::at(&data(&format!("{name}.safetensors")))
    }

    /// Opens the safetensors file at `path`.
    pub fn at(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes, name: path.display().to_string() }
    }

    fn view<T>(&self, key: &str, read: impl FnOnce(&[usize], Dtype, &[u8]) -> T) -> T {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let tensor = file.tensor(key).unwrap_or_else(|e| panic!("{}: {key}: {e}", self.name));
        read(tensor.shape(), tensor.dtype(), tensor.data())
    }

    /// Whether the recording has this array.
    pub fn has(&self, key: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file").tensor(key).is_ok()
    }

    /// A floating-point array as f32, row-major.
    pub fn f32(&self, key: &str) -> Vec<f32> {
        self.view(key, |_, dtype, data| match dtype {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
            other => panic!("{}: {key}: {other:?}", self.name),
        })
    }

    /// An integer array as i64, row-major.
    pub fn i64(&self, key: &str) -> Vec<i64> {
        self.view(key, |_, dtype, data| match dtype {
            Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::I16 => data.chunks_exact(2).map(|b| i16::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            other => panic!("{}: {key}: {other:?}", self.name),
        })
    }
}

/// The largest absolute difference; panics where lengths differ or a value is not finite.
pub fn max_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    assert!(found.iter().all(|v| v.is_finite()), "a value is not finite");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Asserts that two arrays differ by at most `tolerance` anywhere.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let worst = max_difference(found, expected);
    assert!(worst <= tolerance, "{what}: differs by {worst:e}, allowed {tolerance:e}");
}

/// Uniform values in -1..1 seeded by a name: the generator behind every seeded weight and input.
pub fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 24) * 2.0 - 1.0
    })
}

/// The network a seeded tensor belongs to: some scales depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Synthesizer,
    Hubert,
    Rmvpe,
}

/// Offset and scale of the seeded tensor `name`.
fn distribution(family: Family, name: &str, shape: &[usize]) -> (f64, f64) {
    let fan_in = || shape[1..].iter().product::<usize>().max(1) as f64;
    let root3 = 3.0_f64.sqrt();
    if name.contains("num_batches_tracked") {
        (0.0, 0.0)
    } else if name.ends_with("running_mean") {
        (0.0, 0.1)
    } else if name.ends_with("running_var") {
        (1.0, 0.3)
    } else if name.ends_with("weight_g") {
        let gain = if family == Family::Synthesizer { 0.8 } else { 1.0 };
        (gain, 0.25 * gain)
    } else if name.contains("emb_rel_") {
        (0.0, (3.0 / *shape.last().unwrap() as f64).sqrt())
    } else if ["emb_pitch", "emb_g", "masked_spec_embed"].iter().any(|part| name.contains(part)) {
        (0.0, root3)
    } else if shape.len() >= 2 {
        let mut scale = root3 / fan_in().sqrt();
        if family == Family::Rmvpe && shape.len() == 4 && name.contains(".conv.") {
            scale *= 0.6;
        } else if family == Family::Rmvpe && name.starts_with("fc.1") {
            scale *= 4.0;
        } else if family == Family::Synthesizer && name == "dec.conv_post.weight" {
            scale *= 3.0;
        }
        (0.0, scale)
    } else {
        let is_norm = name.ends_with("gamma")
            || (name.ends_with("weight") && (name.contains("norm") || name.contains(".bn")))
            || (family == Family::Rmvpe && name.ends_with(".weight"));
        if is_norm { (1.0, 0.2) } else { (0.0, 0.1) }
    }
}

/// The seeded tensor `name`: `f16(offset + scale * u)`, widened.
pub fn seeded(family: Family, name: &str, shape: &[usize]) -> Tensor {
    let (offset, scale) = distribution(family, name, shape);
    let count = shape.iter().product();
    let values = uniform(name, count).map(|u| f16::from_f32((offset + scale * u) as f32).to_f32()).collect();
    Tensor::from_f32(shape.to_vec(), values)
}

/// Names and shapes of a checkpoint's tensors, one `name extent extent ...` per line.
pub fn listing(text: &'static str) -> impl Iterator<Item = (&'static str, Vec<usize>)> {
    text.lines().map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        (name, words.map(|extent| extent.parse().expect("an extent")).collect())
    })
}

/// A whole seeded checkpoint, from the names and shapes of its tensors.
pub fn seeded_checkpoint<'a>(family: Family, listing: impl IntoIterator<Item = (&'a str, Vec<usize>)>) -> Tensors {
    let tensors = listing.into_iter().map(|(name, shape)| (name.to_owned(), seeded(family, name, &shape)));
    Tensors::new("seeded weights", tensors)
}

#[test]
fn the_generator_reproduces_the_published_check_values() {
    let x: Vec<f64> = uniform("x", 4).collect();
    let expected = [-0.597583532333374, 0.6170535087585449, 0.2866472005844116, 0.6562187671661377];
    assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{x:?}");
    let raw: Vec<f64> = uniform("synth_full_v2_40k_off.phone", 4).collect();
    let expected = [0.5235586166381836, -0.18614089488983154, -0.9363985061645508, -0.5522909164428711];
    assert!(raw.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{raw:?}");
}

/// A recorded clip of `tests/data/audio`, 16 kHz mono, in -1..1.
pub fn speech(name: &str) -> Vec<f32> {
    let path = data(&format!("audio/{name}.wav"));
    let mut file = hound::WavReader::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!((file.spec().sample_rate, file.spec().channels), (16_000, 1));
    file.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect()
}

/// How far `found` Hz lies above `expected` Hz, in cents.
pub fn cents(found: f32, expected: f32) -> f64 {
    1200.0 * (f64::from(found) / f64::from(expected)).log2()
}
