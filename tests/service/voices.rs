//! Voices: upload, listing, deletion.

use std::io::Write;

use crate::support::*;

#[test]
fn a_voice_is_kept_once_listed_without_being_loaded_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let files = [("model_file", "my voice.pth", &bytes(VOICE)[..]), ("index_file", INDEX, &bytes(INDEX))];
    let (status, voice) = server.form("/rvc-models", &[("name", "Alto"), ("description", "a voice")], &files);
    assert_eq!(status, 201, "{voice}");
    assert_eq!((voice["name"].as_str(), voice["description"].as_str()), (Some("Alto"), Some("a voice")));
    assert_eq!((voice["pth_file"].as_str(), voice["index_file"].as_str()), (Some("my voice.pth"), Some(INDEX)));
    assert_eq!(voice["facts"]["sample_rate_hz"], 32_000);
    assert!(voice["file_size_mb"].as_f64().is_some_and(|mb| mb > 0.0));
    assert!(voice["created_at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{voice}");

    for (name, told) in [("Other", "the same files are there as `Alto`"), ("Alto", "the same files")] {
        let (status, problem) = server.form("/rvc-models", &[("name", name)], &files);
        assert_eq!((status, problem["status"].as_u64()), (409, Some(409)), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
    }
    let (status, problem) =
        server.form("/rvc-models", &[("name", "Alto")], &[("pth_file", "v.pth", &bytes("synth_small_v2_40k.pth"))]);
    assert!(status == 409 && problem["detail"].as_str().is_some_and(|detail| detail.contains("taken")), "{problem}");

    drop(server);
    let server = Server::start(folder.path(), &[]);
    server.upload("Bass", "synth_small_v2_40k.pth");
    let (_, list) = server.get("/rvc-models?sort_by=created_at");
    assert_eq!((list["total"].as_u64(), list["models"][0]["name"].as_str()), (Some(2), Some("Bass")), "{list}");
    let (_, stats) = server.get("/rvc-models/stats");
    assert_eq!((stats["total_models"].as_u64(), stats["loaded"].as_u64()), (Some(2), Some(0)), "{stats}");
    let id = voice["id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("/rvc-models/{id}")).1["name"], "Alto");
    assert_eq!(server.delete(&format!("/rvc-models/{id}")), 204);
    assert_eq!(server.delete(&format!("/rvc-models/{id}")), 404);
    assert_eq!(server.get(&format!("/rvc-models/{id}")).0, 404);
    assert!(!folder.path().join("voices").join(id).exists());
}

#[test]
fn what_is_no_voice_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["--max-upload", "4"]);
    let voice = bytes(VOICE);
    let long = "x".repeat(501);
    let mut bomb = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    bomb.start_file("v.pth", zip::write::SimpleFileOptions::default()).expect("an entry");
    bomb.write_all(&vec![0; 16 << 20]).expect("bytes");
    let bomb = bomb.finish().expect("an archive").into_inner();
    let big = vec![0; 5 << 20];
    for (fields, files, status) in [
        (&[("name", "x")][..], &[][..], 400),
        (&[("name", "x")], &[("pth_file", "v.pth", &b"not a voice"[..])], 400),
        (&[("name", "x")], &[("pth_file", "v.pth", &voice[..voice.len() / 2])], 400),
        (&[("name", "x")], &[("pth_file", "v.zip", &bomb)], 400),
        (&[("name", "x")], &[("pth_file", "v.pth", &big)], 413),
        (&[("name", "")], &[("pth_file", "v.pth", &voice)], 422),
        (&[("name", "x"), ("description", &long)], &[("pth_file", "v.pth", &voice)], 422),
    ] {
        let (found, problem) = server.form("/rvc-models", fields, files);
        assert_eq!(found, status, "{problem}");
        assert!(!problem.to_string().contains(folder.path().to_str().expect("a path")), "{problem}");
    }
    assert_eq!(server.get("/rvc-models?sort_by=size").0, 422);
    assert_eq!(std::fs::read_dir(folder.path().join("voices")).expect("a folder").count(), 0);
    assert_eq!(server.get("/rvc-models").1["total"], 0);
}

#[test]
fn many_uploads_of_one_voice_at_once_keep_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let voice = bytes(VOICE);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..6)
            .map(|number| {
                let (server, voice) = (&server, &voice);
                scope.spawn(move || {
                    let name = format!("voice {number}");
                    server.form("/rvc-models", &[("name", &name)], &[("pth_file", "v.pth", voice)]).0
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().expect("an upload")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 5, "{statuses:?}");
}

#[test]
fn a_voice_that_is_pinned_is_loaded_at_the_start_and_one_that_is_not_there_yet_when_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let pins = ["--pin", "small", "--pin", "later"];
    let server = Server::start(folder.path(), &pins);
    let id = server.upload("small", VOICE);
    assert_eq!(server.get(&format!("/rvc-models/{id}")).1["loaded"], false);
    drop(server);
    let server = Server::start(folder.path(), &pins);
    assert_eq!(server.get(&format!("/rvc-models/{id}")).1["loaded"], true);
    assert_eq!(server.get("/rvc-models/stats").1["loads"], 1);
}

#[cfg(feature = "default-voice")]
#[test]
fn new_data_begins_with_the_voice_inside_and_who_deletes_it_does_not_get_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    // Neither an encoder nor a models folder.
    let serve = || {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
        command.env("SYRINX_MODELS", folder.path().join("models")).env_remove("SYRINX_TOKEN");
        Server::run(command)
    };
    let server = serve();
    assert_eq!(server.get("/ready").0, 200);
    let (_, list) = server.get("/rvc-models");
    assert_eq!((&list["total"], &list["models"][0]["name"]), (&1.into(), &"joe".into()), "{list}");
    let id = list["models"][0]["id"].as_str().expect("an id").to_owned();
    let fields = [("rvc_model_id", id.as_str()), ("rvc_f0_method", "yin")];
    let audio = bytes("audio/tone_stereo_44k1.flac");
    let (status, job) = server.form("/jobs/convert", &fields, &[("audio", "x.flac", &audio)]);
    assert_eq!(status, 202, "{job}");
    let job = job["id"].as_str().expect("an id");
    let (samples, rate_hz) = decode(&server.download(job));
    assert_eq!((samples.len(), rate_hz), (12_000, 24_000));
    // The tone of 440 Hz comes down to the voice's 92.
    let shift = server.wait(job, |job| job["status"] == "completed")["outcome"]["transpose_semitones"].as_f64();
    assert!(shift.is_some_and(|shift| (shift - 12.0 * (92.0_f64 / 440.0).log2()).abs() < 0.3), "{shift:?}");
    drop(server);
    let server = serve();
    assert_eq!(server.get("/rvc-models").1["total"], 1);
    assert_eq!(server.delete(&format!("/rvc-models/{id}")), 204);
    drop(server);
    assert_eq!(serve().get("/rvc-models").1["total"], 0);
}
