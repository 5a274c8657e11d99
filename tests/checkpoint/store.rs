//! Models are found by name, and their absence is told with what to do.

use std::fs;

use syrinx::Error;
use syrinx::checkpoint::catalogue::{PUBLISHED, Published, Verdict};
use syrinx::checkpoint::pitch::PitchNetwork;
use syrinx::checkpoint::store::ModelsDirectory;

use crate::support::{data, folder};

#[test]
fn a_voice_is_found_by_name_file_and_path() {
    let folder = folder();
    let voices = folder.path().join("voices");
    fs::create_dir(&voices).unwrap();
    fs::write(voices.join("anna.pth"), b"").unwrap();
    let models = ModelsDirectory::new(folder.path());
    let expected = voices.join("anna.pth");
    assert_eq!(models.voice("anna").unwrap(), expected);
    assert_eq!(models.voice("anna.pth").unwrap(), expected);
    assert_eq!(models.voice(expected.to_str().unwrap()).unwrap(), expected);
    let error = models.voice("berta").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(error.exit_code(), 66);
    let message = error.to_string();
    // A pitch network lies beside the folder of voices; a voice may bear its name.
    fs::write(folder.path().join("full.pth"), b"").unwrap();
    assert!(models.voice("full").is_err());
    fs::write(voices.join("full.pth"), b"").unwrap();
    assert_eq!(models.voice("full").unwrap(), voices.join("full.pth"));
    assert!(message.contains("voice `berta` not found") && message.contains("(there: anna)"), "{message}");
    assert!(models.voice("../voices/anna").is_err(), "a path below the directory was taken for a name");
}

#[test]
fn an_index_belongs_to_the_voice_it_names() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    for made in ["voices", "indexes"] {
        fs::create_dir(path(made)).unwrap();
    }
    let own = path("indexes/added_IVF256_Flat_nprobe_1_anna_v2.index");
    fs::write(&own, b"").unwrap();
    fs::write(path("indexes/added_IVF256_Flat_nprobe_1_annabel_v2.index"), b"").unwrap();
    fs::write(path("indexes/a_v2.index"), b"").unwrap();
    fs::write(path("indexes/trained_IVF256_Flat_nprobe_1_anna_v2.index"), b"").unwrap();
    let models = ModelsDirectory::new(folder.path());
    assert_eq!(models.index_of(&path("voices/a_v2.pth")), Some(path("indexes/a_v2.index")));
    assert_eq!(models.index_of(&path("voices/anna.pth")), Some(own.clone()));
    assert_eq!(models.index_of(&path("voices/Anna_e200_s4000.pth")), Some(own));
    assert_eq!(models.index_of(&path("voices/ann.pth")), None);
    let beside = path("voices/carl.index");
    fs::write(&beside, b"").unwrap();
    assert_eq!(models.index_of(&path("voices/carl.pth")), Some(beside));
}

#[test]
fn missing_models_are_told_with_their_place_and_source() {
    let folder = folder();
    let models = ModelsDirectory::new(folder.path());
    let message = models.shared_encoder(None).unwrap_err().to_string();
    assert!(message.contains("hubert_base.pt (content encoder, needed by every voice) not found"), "{message}");
    assert!(message.contains("set SYRINX_MODELS"), "{message}");
    let message = models.pitch(None, PitchNetwork::Fcpe, false).unwrap_err().to_string();
    assert!(message.contains("the wheel torchfcpe 0.0.4 on PyPI"), "{message}");
    fs::write(folder.path().join("rmvpe.pt"), b"").unwrap();
    assert_eq!(models.pitch(None, PitchNetwork::Rmvpe, false).unwrap(), folder.path().join("rmvpe.pt"));
    let contentvec = folder.path().join("contentvec");
    fs::create_dir(&contentvec).unwrap();
    fs::write(contentvec.join("config.json"), b"{}").unwrap();
    assert_eq!(models.shared_encoder(None).unwrap(), contentvec);
    assert!(
        models
            .shared_encoder(Some("elsewhere.pt"))
            .unwrap_err()
            .to_string()
            .contains("hubert `elsewhere.pt` not found")
    );
}

#[test]
fn a_file_that_is_not_the_published_one_is_told_apart() {
    let folder = folder();
    let path = folder.path().join("fcpe.pt");
    fs::copy(data("voice_zip.pth"), &path).unwrap();
    let found = fs::metadata(&path).unwrap().len();
    let fcpe = PUBLISHED.iter().find(|model| model.name == "fcpe").unwrap();
    assert_eq!(fcpe.verify(&path).unwrap(), Verdict::Short { found, expected: 43_363_260 });
    let as_long = Published { bytes: Some(found), ..*fcpe };
    assert_eq!(as_long.verify(&path).unwrap(), Verdict::Different);
    assert_eq!(Published { bytes: Some(found - 1), ..*fcpe }.verify(&path).unwrap(), Verdict::Different);
    let sha256 = Some("0542aaddcfbecf8a47bbee4d47722a2d313127adb017b71dc83703b91c103a7d");
    assert_eq!(Published { sha256, ..as_long }.verify(&path).unwrap(), Verdict::Genuine);
    let other_form = folder.path().join("fcpe.safetensors");
    fs::copy(&path, &other_form).unwrap();
    assert_eq!(as_long.verify(&other_form).unwrap(), Verdict::Unknown);
    // Every hash is one, in the spelling that is compared.
    let hashes = PUBLISHED.iter().flat_map(|model| [model.sha256, model.folder_sha256]).flatten();
    assert!(hashes.clone().count() >= 6);
    hashes.for_each(|hash| assert!(hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))));
}

#[test]
fn a_model_is_found_by_the_name_of_its_file_with_and_without_extension() {
    let folder = folder();
    let models = ModelsDirectory::new(folder.path());
    for file in ["my_hubert.pt", "fcpe_c_v001.pt", "tiny.pth"] {
        fs::write(folder.path().join(file), b"").unwrap();
    }
    let inside = |name: &str| Some(folder.path().join(name));
    assert_eq!(models.named("my_hubert"), inside("my_hubert.pt"));
    assert_eq!(models.named("my_hubert.pt"), inside("my_hubert.pt"));
    assert_eq!(models.named("fcpe"), inside("fcpe_c_v001.pt"));
    assert_eq!(models.named("crepe-tiny"), inside("tiny.pth"));
    assert_eq!(models.named("crepe"), None);
    assert_eq!(models.named("../my_hubert.pt"), None);
    assert_eq!(models.shared_encoder(Some("my_hubert")).unwrap(), folder.path().join("my_hubert.pt"));
}

#[test]
fn a_voice_with_an_encoder_beside_it_takes_no_other() {
    let folder = folder();
    let models = ModelsDirectory::new(folder.path());
    let voice = folder.path().join("voices/alto/alto.pth");
    fs::create_dir_all(voice.with_file_name("encoder")).unwrap();
    fs::write(folder.path().join("hubert_base.pt"), "").unwrap();
    let shared = folder.path().join("hubert_base.pt");
    assert_eq!(models.encoder(None, &voice).unwrap(), shared, "an empty folder is no encoder");
    fs::write(voice.with_file_name("encoder").join("config.json"), "{}").unwrap();
    assert_eq!(models.encoder(None, &voice).unwrap(), voice.with_file_name("encoder"));
    assert_eq!(models.encoder(Some("hubert"), &voice).unwrap(), voice.with_file_name("encoder"));
    assert_eq!(models.encoder(None, &folder.path().join("voices/bass.pth")).unwrap(), shared);
}
