//! Fields of a request, whichever way they were sent: as JSON, as a form, or as a form with files.

use std::path::Path;
use std::time::Duration;

use axum::extract::{Form, FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;

use crate::error::Error;
use crate::service::problem::Problem;
use crate::service::voices::Received;

/// Fields that hold numbers.
const NUMBERS: [&str; 7] =
    ["rvc_pitch", "rvc_index_rate", "rvc_filter_radius", "rvc_rms_mix_rate", "rvc_protect", "speed", "priority"];
/// Fields that hold truth values.
const SWITCHES: [&str; 1] = ["enable_rvc"];
/// Most bytes of a field that is no file.
const LONGEST_FIELD: usize = 64 << 10;

/// How long the rest of a refused upload is read, and let go.
const LISTENING: Duration = Duration::from_secs(10);

/// Reads fields that come as JSON or as a form.
pub async fn fields<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let value = match kind.as_str() {
        "application/json" => {
            let bytes = axum::body::Bytes::from_request(request, &()).await;
            let bytes = bytes.map_err(|error| Problem::new(error.status(), error.body_text()))?;
            serde_json::from_slice(&bytes).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?
        }
        "application/x-www-form-urlencoded" => {
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            let Form(pairs) = form.map_err(|error| Problem::new(error.status(), error.body_text()))?;
            object(pairs)
        }
        "multipart/form-data" => {
            let mut pairs = Vec::new();
            let multipart = Multipart::from_request(request, &()).await;
            let mut multipart = multipart.map_err(|error| Problem::new(error.status(), error.body_text()))?;
            while let Some(field) = multipart.next_field().await? {
                let name = field.name().unwrap_or_default().to_owned();
                pairs.push((name, field.text().await?));
            }
            object(pairs)
        }
        _ => {
            let detail = "expected application/json, application/x-www-form-urlencoded or multipart/form-data";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    typed(value)
}

/// Fields as a type; what does not fit is told.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(Problem::invalid)
}

/// The values of a form, with numbers and truth values as such; empty ones count as left out.
pub fn object(pairs: Vec<(String, String)>) -> Value {
    let mut object = Map::new();
    for (name, text) in pairs {
        let value = match name.as_str() {
            _ if text.is_empty() => continue,
            name if NUMBERS.contains(&name) => {
                text.parse::<serde_json::Number>().map_or(Value::String(text), Value::Number)
            }
            name if SWITCHES.contains(&name) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" => Value::Bool(true),
                "false" | "0" | "off" | "no" => Value::Bool(false),
                _ => Value::String(text),
            },
            _ => Value::String(text),
        };
        object.insert(name, value);
    }
    Value::Object(object)
}

/// Fields and files of an upload.
pub struct Upload {
    /// Fields that are no files.
    pub fields: Value,
    /// Files, each under the name of its field.
    pub files: Vec<(String, Received)>,
}

/// Receives an upload into `folder`, up to `most_bytes` in all.
pub async fn receive(mut multipart: Multipart, folder: &Path, most_bytes: u64) -> Result<Upload, Problem> {
    let received = take(&mut multipart, folder, most_bytes).await;
    if received.is_err() {
        // Who still sends hears the answer only once all is sent; but no one is listened to for ever.
        let rest = async { while let Ok(Some(_)) = multipart.next_field().await {} };
        let _ = tokio::time::timeout(LISTENING, rest).await;
    }
    received
}

async fn take(multipart: &mut Multipart, folder: &Path, most_bytes: u64) -> Result<Upload, Problem> {
    let (mut pairs, mut files) = (Vec::new(), Vec::new());
    let mut left = most_bytes;
    while let Some(mut field) = multipart.next_field().await? {
        let name = field.name().unwrap_or_default().to_owned();
        let Some(file_name) = field.file_name().map(str::to_owned) else {
            let mut bytes = Vec::new();
            while let Some(chunk) = field.chunk().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > LONGEST_FIELD {
                    return Err(too_large(LONGEST_FIELD as u64));
                }
            }
            pairs.push((name, String::from_utf8_lossy(&bytes).into_owned()));
            continue;
        };
        let path = folder.join(format!("received-{}", files.len()));
        let failed = |source| Problem::from(Error::io(&path, source));
        let mut file = tokio::fs::File::create(&path).await.map_err(failed)?;
        while let Some(chunk) = field.chunk().await? {
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| too_large(most_bytes))?;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        // Only the last part of a name is anyone's business.
        let shown = file_name.rsplit(['/', '\\']).next().unwrap_or_default().chars().take(200).collect();
        files.push((name, Received { name: shown, path }));
    }
    Ok(Upload { fields: object(pairs), files })
}

fn too_large(limit: u64) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("expected at most {limit} bytes, found more"))
}
