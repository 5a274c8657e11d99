//! Pitch networks made to mislead: missing, misshapen and outsized tensors are named before anything is built.

use std::collections::BTreeMap;

use syrinx::checkpoint::{Tensor, Tensors, Weights};
use syrinx::error::{Error, Result};
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::Fcpe;
use syrinx::nn::rmvpe::Rmvpe;

use crate::support::data;

type Load = fn(&Weights<'_>) -> Result<()>;

/// A good file and what loads it.
type Network = (&'static str, Load);

const FCPE: Network =
    ("fcpe_small.weights.safetensors", |weights| Fcpe::<Cpu>::load(weights, &Default::default()).map(drop));
const CREPE: Network =
    ("crepe_small.weights.safetensors", |weights| Crepe::<Cpu>::load(weights, &Default::default()).map(drop));
const RMVPE: Network = ("rmvpe_small.pt", |weights| Rmvpe::<Cpu>::load(weights, &Default::default()).map(drop));

/// The tensors of a good file, to be changed before they are loaded.
fn tensors(file: &str) -> BTreeMap<String, Tensor> {
    let tensors = Tensors::open(data(file)).unwrap();
    tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()])
}

/// Asserts that the network is refused for `tensor`, with `message`, once its tensors are these.
#[track_caller]
fn assert_refused(load: Load, tensors: BTreeMap<String, Tensor>, tensor: &str, message: &str) {
    let error = load(&Tensors::new("hostile.pt", tensors).weights()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::Tensor { tensor: found, .. } if found == tensor), "{tensor}: {text}");
    assert!(text.contains(message) && text.contains("hostile.pt"), "{text}");
}

#[test]
fn the_networks_load_as_they_are() {
    for (file, load) in [FCPE, CREPE, RMVPE] {
        load(&Tensors::new(file, tensors(file)).weights()).unwrap();
    }
}

#[test]
fn outsized_claims_are_refused_by_name() {
    let cases: [(Network, &str, &[usize], &str); 13] = [
        (FCPE, "input_stack.0.weight", &[32, 4000, 3], "1 to 1024 mel bands, found 4000"),
        (FCPE, "input_stack.0.weight", &[8200, 1, 3], "extents of 1 to 8192"),
        (FCPE, "input_stack.0.weight", &[32, 128, 4], "an odd number of taps, found 4"),
        (FCPE, "input_stack.0.weight", &[0, 128, 3], "3 dimensions above 0, found [0, 128, 3]"),
        (FCPE, "cent_table", &[5000], "extents of 1 to 4096"),
        (FCPE, "net.encoder_layers.1.conformer.net.4.conv.weight", &[64, 1, 9001], "extents of 1 to 8192"),
        (FCPE, "net.encoder_layers.1.conformer.net.2.weight", &[9000, 1, 1], "extents of 1 to 8192"),
        (CREPE, "conv1.weight", &[9000, 1, 4, 1], "extents of 1 to 8192"),
        (CREPE, "conv1.weight", &[16, 1, 2, 1], "at least 4 taps, found 2"),
        (CREPE, "classifier.weight", &[5000, 32], "1 to 4096 bins, found 5000"),
        (CREPE, "classifier.weight", &[360, 33], "found 33"),
        (RMVPE, "fc.1.weight", &[5000, 2], "1 to 4096 bins, found [5000, 2]"),
        (RMVPE, "fc.0.gru.weight_ih_l0", &[3, 24_000], "at most 1024, found 24000"),
    ];
    for ((file, load), name, shape, message) in cases {
        let mut tensors = tensors(file);
        assert!(tensors.insert(name.into(), zeros(shape)).is_some(), "{file} has no {name}");
        assert_refused(load, tensors, name, message);
    }
}

#[test]
fn missing_tensors_and_values_that_are_no_numbers_are_named() {
    let victims = [
        (FCPE, "input_stack.1.bias"),
        (FCPE, "net.encoder_layers.0.conformer.net.6.weight"),
        (FCPE, "output_proj.weight"),
        (CREPE, "conv3_BN.running_var"),
        (CREPE, "conv6.bias"),
        (RMVPE, "unet.encoder.bn.weight"),
    ];
    for ((file, load), victim) in victims {
        let mut without = tensors(file);
        let tensor = without.remove(victim).unwrap_or_else(|| panic!("{file} has no {victim}"));
        assert_refused(load, without.clone(), victim, "found nothing");
        let mut values = tensor.to_f32();
        values[0] = f32::NAN;
        without.insert(victim.into(), Tensor::from_f32(tensor.shape.clone(), values));
        assert_refused(load, without, victim, "expected finite values, found NaN");
    }
}

#[test]
fn more_layers_than_any_network_has_are_refused() {
    let mut many = tensors(FCPE.0);
    let layer = |number: usize| format!("net.encoder_layers.{number}.");
    let first: Vec<_> =
        many.iter().filter_map(|(name, t)| Some((name.strip_prefix(&layer(0))?.to_owned(), t.clone()))).collect();
    for number in 2..=64 {
        many.extend(first.iter().map(|(name, tensor)| (layer(number) + name, tensor.clone())));
    }
    assert_refused(FCPE.1, many, "net.encoder_layers.64.norm.weight", "at most 64 layers");
    let mut attentive = tensors(FCPE.0);
    attentive.insert("net.encoder_layers.0.attn.to_q.weight".into(), zeros(&[1]));
    assert_refused(FCPE.1, attentive, "net.encoder_layers.0.attn.to_q.weight", "a network without attention");
    // A network whose every window ends before its last layer.
    let mut deep = tensors(CREPE.0);
    let sixth: Vec<_> =
        deep.iter().filter_map(|(name, t)| Some((name.strip_prefix("conv6")?.to_owned(), t.clone()))).collect();
    for number in 7..=9 {
        deep.extend(sixth.iter().map(|(name, tensor)| (format!("conv{number}{name}"), tensor.clone())));
    }
    assert_refused(CREPE.1, deep, "classifier.weight", "[bins, 0 * 8]");
    // Levels that would halve time nine times.
    let mut tall = tensors(RMVPE.0);
    let level: Vec<_> = tall
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix("unet.encoder.layers.1.")?.to_owned(), t.clone())))
        .collect();
    let [wide, narrow, ..] = tall["unet.encoder.layers.1.conv.0.conv.0.weight"].shape[..] else { panic!("no kernel") };
    assert!(wide >= narrow);
    for number in 2..=8 {
        for (name, tensor) in &level {
            let shape: Vec<usize> = match (name.as_str(), tensor.shape.as_slice()) {
                ("conv.0.conv.0.weight" | "conv.0.shortcut.weight", [out, _, height, width]) => {
                    vec![*out, wide, *height, *width]
                }
                (_, shape) => shape.to_vec(),
            };
            tall.insert(format!("unet.encoder.layers.{number}.{name}"), zeros(&shape));
        }
    }
    let error = RMVPE.1(&Tensors::new("hostile.pt", tall).weights()).unwrap_err().to_string();
    assert!(error.contains("expected at most 8 encoder levels"), "{error}");
}
