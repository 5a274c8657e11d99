//! Models are found by name, and their absence is told with what to do.

use std::fs;

use syrinx::Error;
use syrinx::checkpoint::pitch::PitchNetwork;
use syrinx::checkpoint::store::{ModelsDirectory, PUBLISHED, Verdict};

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
    let message = models.encoder(None).unwrap_err().to_string();
    assert!(message.contains("hubert_base.pt (content encoder, needed by every voice) not found"), "{message}");
    assert!(message.contains("set SYRINX_MODELS"), "{message}");
    let message = models.pitch(None, PitchNetwork::Fcpe, false).unwrap_err().to_string();
    assert!(message.contains("the wheel torchfcpe 0.0.4 on PyPI"), "{message}");
    fs::write(folder.path().join("rmvpe.pt"), b"").unwrap();
    assert_eq!(models.pitch(None, PitchNetwork::Rmvpe, false).unwrap(), folder.path().join("rmvpe.pt"));
    let contentvec = folder.path().join("contentvec");
    fs::create_dir(&contentvec).unwrap();
    fs::write(contentvec.join("config.json"), b"{}").unwrap();
    assert_eq!(models.encoder(None).unwrap(), contentvec);
    assert!(models.encoder(Some("elsewhere.pt")).unwrap_err().to_string().contains("hubert `elsewhere.pt` not found"));
}

#[test]
fn a_file_that_is_not_the_published_one_is_told_apart() {
    let folder = folder();
    let models = ModelsDirectory::new(folder.path());
    let path = folder.path().join("fcpe.pt");
    fs::copy(data("voice_zip.pth"), &path).unwrap();
    let by_name = |name: &str| PUBLISHED.iter().find(|model| model.name == name).unwrap();
    assert_eq!(models.verify(by_name("fcpe"), &path).unwrap(), Verdict::Different);
    assert_eq!(models.verify(by_name("rmvpe"), &path).unwrap(), Verdict::Unknown);
}
