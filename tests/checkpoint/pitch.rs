//! Pitch networks are told apart by their tensors.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use syrinx::checkpoint::pitch::{PitchCheckpoint, PitchNetwork};
use syrinx::checkpoint::{Kind, identify};

use crate::support::{data, folder};

#[test]
fn rmvpe_is_known_by_its_tensors() {
    let rmvpe = PitchCheckpoint::open_as(data("rmvpe_small.pt"), PitchNetwork::Rmvpe).unwrap();
    assert_eq!(rmvpe.tensors.get("unet.encoder.bn.weight").unwrap().shape, [1]);
    assert!(rmvpe.tensors.iter().all(|(name, _)| !name.ends_with("num_batches_tracked")), "a counter was read");
    assert_eq!(identify(data("rmvpe_small.pt")).unwrap(), Kind::Pitch(PitchNetwork::Rmvpe));
}

#[test]
fn fcpe_and_crepe_are_known_by_their_tensors() {
    let folder = folder();
    for (mark, network) in [("input_stack.0.weight", PitchNetwork::Fcpe), ("conv1_BN.weight", PitchNetwork::Crepe)] {
        let path = folder.path().join("network.safetensors");
        let view = TensorView::new(Dtype::F32, vec![2], &[0; 8]).unwrap();
        safetensors::serialize_to_file(HashMap::from([(mark, view)]), None, &path).unwrap();
        assert_eq!(PitchCheckpoint::open(&path).unwrap().network, network);
        let error = PitchCheckpoint::open_as(&path, PitchNetwork::Rmvpe).unwrap_err().to_string();
        assert!(error.ends_with(&format!("expected rmvpe, found {}", network.name())), "{error}");
    }
}

#[test]
fn a_voice_is_no_pitch_network() {
    let error = PitchCheckpoint::open(data("voice_zip.pth")).unwrap_err().to_string();
    assert!(error.contains("expected a pitch network (RMVPE, FCPE or CREPE), found other tensors"), "{error}");
}
