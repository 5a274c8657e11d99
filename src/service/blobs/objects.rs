//! Blobs as objects of a bucket, on any server that speaks S3.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart};
use tokio::runtime::Handle;

use super::{Blob, Blobs, check};
use crate::error::{Error, Result};

/// Bytes that are sent or fetched by one request; what is longer takes several, so that none takes long.
const PART: usize = 8 << 20;
/// Parts that are sent at once.
const AT_ONCE: usize = 4;
/// Requests that fail for a reason that may pass are sent again, so often and for so long.
const RETRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(15);

/// Objects below one prefix of a bucket.
#[derive(Debug)]
pub struct ObjectBlobs {
    runtime: Handle,
    store: AmazonS3,
    prefix: String,
    shown: String,
}

impl ObjectBlobs {
    /// Objects of `bucket` whose names begin with `prefix`. Where the server is and who asks is in `environment`, as for
    /// Amazon's own programs: `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`. Nothing is
    /// asked yet.
    ///
    /// # Errors
    /// An environment that contradicts itself.
    pub fn new(
        runtime: Handle,
        bucket: &str,
        prefix: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        let prefix = prefix.trim_matches('/').to_owned();
        let shown = format!("s3://{bucket}/{prefix}");
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut store = AmazonS3Builder::new();
        for (name, value) in environment {
            let name = name.to_string_lossy().to_ascii_lowercase();
            if let (true, Ok(name)) = (name.starts_with("aws_"), name.parse::<AmazonS3ConfigKey>()) {
                store = store.with_config(name, value.to_string_lossy());
            }
        }
        let store = store.with_bucket_name(bucket).with_retry(retry).build();
        let store = store.map_err(|error| failed(&shown, &shown, error))?;
        Ok(Self { runtime, store, prefix, shown })
    }

    fn path(&self, key: &str) -> Result<Path> {
        check(key)?;
        Ok(Path::from(self.prefix.as_str()).join(key))
    }

    /// Asks for something about `key`, and waits for the answer.
    fn ask<T>(&self, key: &str, question: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        let answer = self.runtime.block_on(question);
        answer.map_err(|error| failed(&self.shown, &format!("{}/{key}", self.shown), error))
    }
}

/// An error of the server, or of `object` if it is not there.
fn failed(server: &str, object: &str, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::io(object, std::io::ErrorKind::NotFound.into()),
        error => {
            let hint = "AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY tell where it is and who asks";
            Error::server(server, error, hint)
        }
    }
}

impl Blobs for ObjectBlobs {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(key)?;
        let put = self.ask(key, async {
            if bytes.len() <= PART {
                return self.store.put(&path, bytes.to_vec().into()).await.map(|_| ());
            }
            // The object appears when its last part is there.
            let mut upload = WriteMultipart::new_with_chunk_size(self.store.put_multipart(&path).await?, PART);
            for part in bytes.chunks(PART) {
                if let Err(error) = upload.wait_for_capacity(AT_ONCE).await {
                    // Parts that no one ends are kept, and paid for.
                    let _ = upload.abort().await;
                    return Err(error);
                }
                upload.write(part);
            }
            upload.finish().await.map(|_| ())
        });
        put.map_err(|error| match error {
            // What is put need not be there; where it is put, must.
            Error::Io { .. } => Error::server(&self.shown, "there is no such bucket", "make it first"),
            error => error,
        })
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        let path = self.path(key)?;
        self.ask(key, async {
            let length = self.store.head(&path).await?.size;
            let mut bytes = Vec::with_capacity(length as usize);
            for start in (0..length).step_by(PART) {
                let part = self.store.get_range(&path, start..length.min(start + PART as u64)).await?;
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        })
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match self.ask(key, self.store.delete(&path)) {
            Err(Error::Io { .. }) => Ok(()),
            other => other,
        }
    }

    fn all(&self) -> Result<Vec<Blob>> {
        let prefix = Path::from(self.prefix.as_str());
        let objects: Vec<_> = self.ask("", self.store.list(Some(&prefix)).try_collect())?;
        let now = SystemTime::now();
        let blobs = objects.into_iter().filter_map(|object| {
            // Deeper ones are not ours.
            let mut below = object.location.prefix_match(&prefix)?;
            let key = below.next()?.as_ref().to_owned();
            let age = now.duration_since(object.last_modified.into()).unwrap_or_default();
            below.next().is_none().then_some(Blob { key, age })
        });
        Ok(blobs.collect())
    }
}
