//! Blobs in a bucket, by a server that speaks S3.

use std::ffi::OsString;
use std::time::Duration;

use syrinx::service::blobs::{Blobs, ObjectBlobs};
use tokio::runtime::Runtime;

use crate::servers::{BUCKET, ObjectServer};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn open(runtime: &Runtime, prefix: &str, environment: &[(&str, String)]) -> ObjectBlobs {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    ObjectBlobs::new(runtime.handle().clone(), BUCKET, prefix, environment).expect("settings that fit")
}

fn keys(blobs: &dyn Blobs) -> Vec<String> {
    let mut keys: Vec<String> = blobs.all().expect("keys").into_iter().map(|blob| blob.key).collect();
    keys.sort();
    keys
}

#[test]
fn bytes_of_any_length_are_kept_whole_and_apart_from_those_of_other_prefixes() {
    let (server, runtime) = (ObjectServer::start(), runtime());
    let blobs = open(&runtime, "a/b", &server.environment());
    let other = open(&runtime, "a", &server.environment());
    assert_eq!(keys(&blobs), [""; 0]);
    // One request, one and a byte, several of which the last is short.
    for (number, length) in [1, 1000, 8 << 20, (8 << 20) + 1, (20 << 20) + 7].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..length).map(|place| (place % 251 + number) as u8).collect();
        let key = format!("blob-{number}.wav");
        blobs.put(&key, &bytes).expect("kept");
        assert!(blobs.get(&key).expect("there") == bytes, "{length} bytes");
    }
    other.put("blob-0.wav", b"another").expect("kept");
    assert_eq!(blobs.get("blob-0.wav").expect("there").len(), 1);
    blobs.put("blob-0.wav", b"newer").expect("kept");
    assert_eq!(blobs.get("blob-0.wav").expect("there"), b"newer");
    assert_eq!(keys(&blobs), ["blob-0.wav", "blob-1.wav", "blob-2.wav", "blob-3.wav", "blob-4.wav"]);
    assert_eq!(keys(&other), ["blob-0.wav"]);
    assert!(blobs.all().expect("blobs").iter().all(|blob| blob.age < Duration::from_mins(10)));
    blobs.delete("blob-0.wav").expect("gone");
    blobs.delete("blob-0.wav").expect("gone already");
    let error = blobs.get("blob-0.wav").expect_err("gone");
    assert_eq!((error.exit_code(), error.to_string().starts_with("s3://")), (66, true), "{error}");
    for key in ["", "..", "../x", "a/b", ".hidden", "a\0b"] {
        assert!(blobs.put(key, b"x").is_err(), "{key:?}");
    }
}

#[test]
fn a_server_that_refuses_or_is_gone_is_told_by_name_and_without_secrets() {
    let (mut server, runtime) = (ObjectServer::start(), runtime());
    let mut environment = server.environment();
    environment[3].1 = "a wrong secret".into();
    let error = open(&runtime, "x", &environment).put("a", b"a").expect_err("refused");
    let told = error.to_string();
    assert!(error.exit_code() == 69 && told.starts_with("s3://voices-and-results/x: "), "{told}");
    assert!(told.contains("AWS_SECRET_ACCESS_KEY") && !told.contains("a wrong secret"), "{told}");
    let blobs = open(&runtime, "x", &server.environment());
    blobs.put("a", b"a").expect("kept");
    server.crash();
    assert_eq!(blobs.get("a").expect_err("gone").exit_code(), 69);
    server.go_on();
    assert_eq!(blobs.get("a").expect("back"), b"a");
}
