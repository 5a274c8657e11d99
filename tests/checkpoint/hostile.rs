//! Files made to mislead: each is refused with a message that says what was wrong, and none runs.

use std::fs;
use std::path::Path;

use serde_json::json;
use syrinx::checkpoint::voice::VoiceCheckpoint;
use syrinx::checkpoint::{Tensors, identify};
use zip::CompressionMethod;

use crate::fuzz::limit_memory;
use crate::support::{Draft, cut_everywhere, data, folder, save_pickle, save_zip};

#[track_caller]
fn assert_refused(path: &Path, message: &str) {
    let error = VoiceCheckpoint::open(path).map(|voice| voice.config).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "the file is not named: {error}");
}

#[test]
fn every_number_in_a_config_is_checked() {
    let huge = 1_u64 << 40;
    let cases = [
        (2, json!(huge), "inter_channels: 1 to 4096, found 1099511627776"),
        (2, json!(0), "inter_channels: 1 to 4096, found 0"),
        (2, json!(-4), "inter_channels: 1 to 4096, found -4"),
        (2, json!(6), "tensor `enc_p.proj.weight`: expected [12, 4, 1], found [8, 4, 1]"),
        (3, json!(1e300), "hidden_channels: 1 to 4096"),
        (3, json!("4"), "hidden_channels: 1 to 4096, found \"4\""),
        (3, json!(8), "tensor `enc_p.emb_phone.weight`: expected [8, 256], found [4, 256]"),
        (4, json!(7), "tensor `enc_p.encoder.ffn_layers.0.conv_1.weight`: expected [7, 4, 3], found [6, 4, 3]"),
        (5, json!(3), "n_heads: a divisor of 4, found 3"),
        (5, json!(0), "n_heads: 1 to 4096, found 0"),
        (6, json!(huge), "n_layers: 1 to 64"),
        (6, json!(2), "tensor `enc_p.encoder.attn_layers.1.conv_q.weight`: expected [4, 4, 1], found nothing"),
        (7, json!(4), "kernel sizes: odd numbers, found 4"),
        (9, json!("3"), "resblock: \"1\" or \"2\", found \"3\""),
        (9, json!("2"), "tensor `dec.resblocks.0.convs.0.weight_v`: expected [4, 4, 3], found nothing"),
        (10, json!([]), "resblock_kernel_sizes: a list of 1 to 8 numbers, found []"),
        (10, json!([3]), "resblock_dilation_sizes: 1 lists, one per kernel size, found 2"),
        (11, json!([[1, 3], [1, huge]]), "resblock_dilation_sizes: 1 to 64, found 1099511627776"),
        (11, json!(7), "resblock_dilation_sizes: a list of lists, found 7"),
        (12, json!([10, 9]), "upsample_rates: a product of 80, one hop of 10 ms, found [10, 9]"),
        (12, json!([0, 80]), "upsample_rates: 1 to 512, found 0"),
        (12, json!(vec![512; 8]), "upsample_rates: a product of 80"),
        (12, json!(vec![2; 9]), "upsample_rates: a list of 1 to 8 numbers"),
        (12, json!([16, 5]), "upsample_rates: an even product after every stage but the last, found 5"),
        (12, json!([8, 10]), "tensor `dec.noise_convs.0.weight`: expected [4, 1, 20], found [4, 1, 16]"),
        (13, json!(6), "upsample_initial_channel: a multiple of 4, since each stage halves it, found 6"),
        (14, json!([16, 15]), "upsample_kernel_sizes: at least the rate 8, and of its parity, found 15"),
        (14, json!([8, 16]), "upsample_kernel_sizes: at least the rate 10, and of its parity, found 8"),
        (14, json!([16]), "upsample_kernel_sizes: 2 values, one per upsample rate, found 1"),
        (17, json!(0), "sample rate: 8000 to 192000 Hz in steps of 100, found 0"),
        (17, json!("99999999999999999999k"), "sample rate: 8000 to 192000 Hz"),
        (17, json!(8001), "sample rate: 8000 to 192000 Hz in steps of 100, found 8001"),
    ];
    let folder = folder();
    for (at, value, message) in cases {
        assert_refused(&Draft::new().set(at, value).save(folder.path()), message);
    }
}

#[test]
fn plain_values_of_the_wrong_kind_are_refused() {
    let cases = [
        ("config", "[1, 2, 3]", "config: a list of 18 values, found 3 values"),
        ("config", "{", "config: a list of 18 values, found null"),
        ("version", "v9", "version: v1 or v2, found \"v9\""),
        ("f0", "7", "f0: 0 or 1, found \"7\""),
        ("vocoder", "RefineGAN", "vocoder: HiFi-GAN, found RefineGAN"),
    ];
    let folder = folder();
    for (key, value, message) in cases {
        let mut draft = Draft::new();
        draft.metadata.insert(key.into(), value.into());
        assert_refused(&draft.save(folder.path()), message);
    }
    let mut draft = Draft::new();
    draft.metadata.remove("config");
    assert_refused(&draft.save(folder.path()), "expected an RVC voice with `config`, found no `config`");
    draft.metadata.insert("iteration".into(), "7".into());
    assert_refused(&draft.save(folder.path()), "export the small voice model from it");
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let folder = folder();
    for name in ["emb_g.weight", "enc_p.emb_pitch.weight", "dec.conv_post.weight", "flow.flows.4.pre.weight"] {
        let mut draft = Draft::new();
        draft.tensors.remove(name);
        let message = format!("tensor `{name}`: expected");
        assert_refused(&draft.save(folder.path()), &message);
        draft.tensors.insert(name.into(), (vec![1, 1, 1, 1], vec![0.0]));
        assert_refused(&draft.save(folder.path()), &message);
    }
    let mut draft = Draft::new();
    draft.tensors.insert("emb_g.weight".into(), (vec![0, 7], vec![]));
    assert_refused(&draft.save(folder.path()), "tensor `emb_g.weight`: expected an extent of 1 to 65536, found 0");
}

#[test]
fn a_weight_that_is_not_a_number_is_refused_where_it_is_loaded() {
    let folder = folder();
    let mut draft = Draft::new();
    draft.tensors.get_mut("dec.conv_pre.weight").unwrap().1[5] = f32::NAN;
    let voice = VoiceCheckpoint::open(draft.save(folder.path())).unwrap();
    let error = voice.tensors.weights().load("dec.conv_pre.weight", &[8, 4, 7]).unwrap_err().to_string();
    assert!(error.contains("tensor `dec.conv_pre.weight`: expected finite values, found NaN"), "{error}");
}

#[test]
fn a_direction_of_zero_length_is_refused_where_it_is_loaded() {
    let folder = folder();
    let mut draft = Draft::new();
    draft.tensors.remove("dec.ups.0.weight");
    draft.tensors.insert("dec.ups.0.weight_g".into(), (vec![8, 1, 1], vec![1.0; 8]));
    draft.tensors.insert("dec.ups.0.weight_v".into(), (vec![8, 4, 16], vec![0.0; 8 * 4 * 16]));
    let voice = VoiceCheckpoint::open(draft.save(folder.path())).unwrap();
    let error = voice.tensors.weights().load("dec.ups.0.weight", &[8, 4, 16]).unwrap_err().to_string();
    assert!(error.contains("expected finite values, found NaN"), "{error}");
}

/// A dictionary of one key, `weight`, whose value `payload` puts on the stack.
fn dictionary(payload: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x06\0\0\0weight".as_slice(), payload, b"s."].concat()
}

#[test]
fn a_pickle_made_to_run_code_runs_nothing_and_says_so() {
    let folder = folder();
    let witness = folder.path().join("ran");
    let command = format!("touch {}", witness.display());
    let argument = [&b"X"[..], &(command.len() as u32).to_le_bytes(), command.as_bytes(), b"\x85R"].concat();
    let calls: [(&[u8], &str); 4] = [
        (b"cos\nsystem\n", "a pickle that calls `os.system`"),
        (b"cposix\nsystem\n", "a pickle that calls `posix.system`"),
        (b"c__builtin__\neval\n", "a pickle that calls `__builtin__.eval`"),
        (b"csubprocess\nPopen\n", "a pickle that calls `subprocess.Popen`"),
    ];
    for (import, message) in calls {
        let call = [import, argument.as_slice()].concat();
        assert_refused(&save_pickle(folder.path(), &dictionary(&call)), message);
        // Called for its effect alone, its result thrown away.
        let hidden = [call.as_slice(), b"0}"].concat();
        assert_refused(&save_pickle(folder.path(), &dictionary(&hidden)), message);
        // As the whole file, and without an archive around it.
        let root = [b"\x80\x02", call.as_slice(), b"."].concat();
        assert_refused(&save_pickle(folder.path(), &root), message);
        let bare = folder.path().join("bare.pth");
        fs::write(&bare, root).unwrap();
        assert_refused(&bare, message);
    }
    let stacked = [b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93", argument.as_slice(), b"."].concat();
    assert_refused(&save_pickle(folder.path(), &stacked), "a pickle that calls `posix.system`");
    assert!(!witness.exists(), "the command ran");
}

#[test]
fn deep_cyclic_and_endless_pickles_are_refused() {
    let folder = folder();
    let deep = [b"\x80\x02".to_vec(), vec![b']'; 5000], vec![b'a'; 4999], b".".to_vec()].concat();
    assert_refused(&save_pickle(folder.path(), &deep), "nesting exceeds 1000 levels");
    // A dictionary that holds itself.
    let cyclic = dictionary(b"}q\x00h\x00h\x00s");
    assert!(VoiceCheckpoint::open(save_pickle(folder.path(), &cyclic)).is_err());
    let endless = [b"\x80\x02".to_vec(), vec![b'N'; 1_100_000], b".".to_vec()].concat();
    assert_refused(&save_pickle(folder.path(), &endless), "more than 1000000 operations");
    // Lists of ten references to the list before: 10^12 values if they were copied out.
    let mut bomb = b"\x80\x02]q\x00".to_vec();
    for level in 1..=12_u8 {
        bomb.extend([b']', b'(']);
        bomb.extend([b'h', level - 1].repeat(10));
        bomb.extend([b'e', b'q', level]);
    }
    bomb.push(b'.');
    assert_refused(&save_pickle(folder.path(), &bomb), "memo bomb");
    assert_refused(&save_pickle(folder.path(), b"\x80\x02X\xff\xff\xff\x7fabc"), "a pickle cut short at byte 10");
}

#[test]
fn pickles_that_repeat_long_texts_and_names_stay_near_their_length() {
    limit_memory();
    let folder = folder();
    let text = |length: u32| [b"X".as_slice(), &length.to_le_bytes(), &vec![b'x'; length as usize], b"q\x00"].concat();
    // 15 MB that `config` lists a thousand times: 15 GB if they were copied out.
    let listed = [b"\x80\x02}X\x06\0\0\0config(".as_slice(), &text(15 << 20), &b"h\x00".repeat(999), b"ls."].concat();
    assert_refused(&save_pickle(folder.path(), &listed), "memo bomb");
    // A list of 900,000 references to itself.
    let itself = [b"\x80\x02}X\x06\0\0\0config]q\x00(".as_slice(), &b"h\x00".repeat(900_000), b"es."].concat();
    assert!(VoiceCheckpoint::open(save_pickle(folder.path(), &itself)).is_err());
    // Names of a megabyte, imported and called again and again.
    let imported = [b"\x80\x02".as_slice(), &text(1 << 20), &b"h\x00h\x00\x930".repeat(100_000), b"}."].concat();
    assert_refused(&save_pickle(folder.path(), &imported), "a name of 1048576 bytes, more than 256");
    let called = [b"\x80\x02".as_slice(), &text(1 << 20), &b"h\x00)R0".repeat(100_000), b"}."].concat();
    assert!(VoiceCheckpoint::open(save_pickle(folder.path(), &called)).is_err());
}

/// A tensor of f32 over storage `0`: `elements` stored, `shape` and `stride` claimed, as torch pickles it.
fn tensor(elements: u32, extent: u32, stride: u8) -> Vec<u8> {
    let number = |n: u32| [b"J".as_slice(), &n.to_le_bytes()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
            .to_vec(),
        number(elements),
        b"tQK\x00".to_vec(),
        number(extent),
        vec![0x85, b'K', stride, 0x85, 0x89],
        b"ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

fn save_tensor(folder: &Path, pickle: &[u8], storage: &[u8]) -> std::path::PathBuf {
    let path = folder.join("voice.pth");
    let entries = [("archive/data.pkl", pickle), ("archive/data/0", storage)];
    save_zip(&path, &entries, CompressionMethod::Stored);
    path
}

#[test]
fn tensors_may_not_claim_more_than_their_file_holds() {
    let folder = folder();
    let pickle = |tensor: Vec<u8>| dictionary(&[b"}X\x01\0\0\0a".as_slice(), &tensor, b"s"].concat());
    let honest = save_tensor(folder.path(), &pickle(tensor(4, 4, 1)), &[0; 16]);
    assert_eq!(Tensors::open(&honest).unwrap().get("a").unwrap().shape, [4]);
    // A view of stride 0 over one value that would be two gigabytes.
    let expanded = save_tensor(folder.path(), &pickle(tensor(4, 500_000_000, 0)), &[0; 16]);
    assert_refused(&expanded, "the size of all tensors in bytes claims 2000000000, but at most");
    // A view past its storage's declared end.
    let beyond = save_tensor(folder.path(), &pickle(tensor(4, 5, 1)), &[0; 16]);
    assert!(Tensors::open(&beyond).is_err());
    // A storage that declares more than the archive holds.
    let short = save_tensor(folder.path(), &pickle(tensor(400, 100, 1)), &[0; 16]);
    let error = Tensors::open(&short).unwrap_err().to_string();
    assert!(error.contains("tensor `a`: expected readable values"), "{error}");
}

#[test]
fn compressed_archives_are_refused_before_they_unfold() {
    let folder = folder();
    let path = folder.path().join("bomb.pth");
    let zeros = vec![b'N'; 64 << 20];
    save_zip(&path, &[("archive/data.pkl", &zeros)], CompressionMethod::Deflated);
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20, "the bomb is not small");
    assert_refused(&path, "`archive/data.pkl` compressed");
    let pickle = dictionary(b"}");
    let entries: [(&str, &[u8]); 2] = [("archive/data/0", &zeros), ("archive/data.pkl", &pickle)];
    save_zip(&path, &entries, CompressionMethod::Deflated);
    assert_refused(&path, "`archive/data/0` compressed");
    save_zip(&path, &[("archive/data.pkl", &zeros)], CompressionMethod::Stored);
    assert_refused(&path, "`archive/data.pkl` claims 67108864, but at most 16777216 is possible");
}

#[test]
fn a_safetensors_header_may_not_claim_more_than_its_file_holds() {
    let folder = folder();
    let path = folder.path().join("voice.safetensors");
    fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    assert_refused(&path, "the safetensors header's length claims 18446744073709551615, but at most 2 is possible");
    let save = |header: &str, data: &[u8]| {
        fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()).unwrap();
    };
    save(r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#, &[0; 16]);
    assert_refused(&path, "16 bytes of tensors where the header describes 4000000000000");
    save(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#, &[0; 16]);
    assert_refused(&path, "a damaged header");
    save(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}}"#, &[0; 12]);
    assert_refused(&path, "a damaged header");
    save(&"[".repeat(100_000), &[]);
    assert_refused(&path, "a damaged header");
}

#[test]
fn files_that_are_no_checkpoint_are_named_for_what_they_are() {
    let folder = folder();
    let path = folder.path().join("voice.pth");
    let cases: [(&[u8], &str); 7] = [
        (b"", "an empty file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a RIFF (wav) file"),
        (b"<!DOCTYPE html><html>", "a text or HTML file; was a download page saved?"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; fetch the file itself"),
        (b"PK\x03\x04 not an archive", "a damaged zip archive"),
        (b"\x80\x02K\x07.", "expected a PyTorch checkpoint"),
        (b"\x7fELF\x02\x01\x01", "a file that starts with [7f, 45, 4c, 46, 02, 01, 01]"),
    ];
    for (bytes, message) in cases {
        fs::write(&path, bytes).unwrap();
        assert_refused(&path, message);
    }
    assert_refused(&data("flat.index"), "a FAISS index");
    let missing = folder.path().join("absent.pth");
    assert_refused(&missing, "absent.pth");
    let error = identify(data("retrieval_v1.safetensors")).unwrap_err().to_string();
    assert!(error.contains("expected an RVC voice, a HuBERT or ContentVec encoder, RMVPE"), "{error}");
}

#[test]
fn a_voice_cut_short_anywhere_is_refused() {
    let folder = folder();
    let safetensors = Draft::new().save(folder.path());
    for source in [data("voice_zip.pth"), data("voice_legacy.pth"), safetensors] {
        let path = folder.path().join(source.file_name().unwrap());
        cut_everywhere(&path, &fs::read(&source).unwrap(), 150, |path| VoiceCheckpoint::open(path).is_err());
    }
}
