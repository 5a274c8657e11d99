//! fairseq's and Hugging Face's encoders give the same tensors and sizes.

use std::fs;

use syrinx::checkpoint::hubert::EncoderCheckpoint;

use crate::support::{assert_same, data, folder};

#[test]
fn fairseq_and_hugging_face_names_give_the_same_encoder() {
    let fairseq = EncoderCheckpoint::open(data("encoder_fairseq.pt")).unwrap();
    let folder = folder();
    fs::copy(data("encoder_hf.bin"), folder.path().join("pytorch_model.bin")).unwrap();
    let hugging_face = EncoderCheckpoint::open(folder.path()).unwrap();
    assert_eq!(fairseq.config, hugging_face.config);
    assert_same(&fairseq.tensors, &hugging_face.tensors, 0.0);
    let c = &fairseq.config;
    assert_eq!((c.hidden_size, c.layers, c.heads, c.intermediate_size), (64, 1, 1, 8));
    assert_eq!((c.position_taps, c.position_groups, c.final_proj), (8, 16, Some(16)));
    assert_eq!((c.conv_kernel.as_slice(), c.hop_samples()), ([10, 3, 3, 3, 3, 2, 2].as_slice(), 320));
    assert!(fairseq.tensors.get("encoder.pos_conv_embed.conv.weight").is_some(), "weight norm is not folded");
    assert!(fairseq.tensors.get("label_embs_concat").is_none(), "a training tensor was read");
}

#[test]
fn a_config_beside_the_weights_gives_what_shapes_do_not_show() {
    let c = EncoderCheckpoint::open(data("hubert_small_v1.weights.safetensors")).unwrap().config;
    assert_eq!((c.hidden_size, c.layers, c.heads, c.intermediate_size), (48, 12, 4, 96));
    assert_eq!((c.conv_dim.as_slice(), c.position_taps, c.position_groups), ([24; 7].as_slice(), 32, 4));
    assert_eq!((c.conv_stride.as_slice(), c.final_proj), ([5, 2, 2, 2, 2, 2, 2].as_slice(), Some(256)));
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let folder = folder();
    fs::copy(data("encoder_hf.bin"), folder.path().join("pytorch_model.bin")).unwrap();
    let cases = [
        (r#"{"hidden_size": 768}"#, "hidden_size: 768, as the config says, found 64 in the tensors"),
        (r#"{"num_attention_heads": 5}"#, "num_attention_heads: a divisor of 64, found 5"),
        (r#"{"num_attention_heads": 4294967296000}"#, "num_attention_heads: a divisor of 64, found 4294967296000"),
        (r#"{"conv_stride": [5, 2]}"#, "conv_stride: 7 strides of 1 to 320, found [5, 2]"),
        (r#"{"conv_stride": [5, 2, 2, 2, 2, 2, 0]}"#, "conv_stride: 7 strides of 1 to 320"),
        (r#"{"conv_stride": [5, 2, 2, 2, 2, 2, 4]}"#, "conv_stride: a product of 320, one unit of 20 ms, found [5"),
        (r#"{"conv_stride": [64, 64, 64, 64, 64, 64, 64]}"#, "conv_stride: a product of 320, one unit of 20 ms"),
        (r#"{"do_stable_layer_norm": true}"#, "do_stable_layer_norm: false, as in HuBERT base, found true"),
        (r#"{"layer_norm_eps": -1}"#, "layer_norm_eps: a number between 0 and 1, found -1"),
        ("[1, 2", "expected a JSON object"),
    ];
    for (config, message) in cases {
        fs::write(folder.path().join("config.json"), config).unwrap();
        let error = EncoderCheckpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(message), "{config}: {error}");
    }
}

#[test]
fn a_folder_without_weights_says_what_belongs_there() {
    let folder = folder();
    let error = EncoderCheckpoint::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("a Hugging Face folder holds config.json and model.safetensors or pytorch_model.bin"),
        "{error}"
    );
}

#[test]
fn a_voice_is_no_encoder() {
    let error = EncoderCheckpoint::open(data("voice_zip.pth")).unwrap_err().to_string();
    assert!(error.contains("expected a HuBERT or ContentVec encoder, found other tensors"), "{error}");
}
