//! Answers that are no success, as RFC 9457 wants them: `application/problem+json`.

use axum::extract::multipart::MultipartError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// What problems are sent as.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why there is no success, and what to do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What was expected and found.
    detail: String,
    /// Seconds after which to try again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl std::fmt::Display) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem").to_owned();
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.to_string(), retry_after: None }
    }

    /// Too much is asked at once: try again after so many seconds.
    pub fn busy(detail: impl std::fmt::Display, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// It cannot be had now: try again after so many seconds.
    pub fn unavailable(detail: impl std::fmt::Display, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// There is nothing of this name.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not there"))
    }

    /// The fields are not what they should be.
    pub fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Argument { .. } | Error::Format { .. } | Error::Tensor { .. } | Error::Limit { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Server { .. } | Error::Device { .. } => StatusCode::BAD_GATEWAY,
            Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            Error::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!("{error}");
        }
        // Paths of this machine are no one's business.
        let detail = match &error {
            Error::Io { source, .. } => format!("reading or writing failed: {source}"),
            other => other.to_string(),
        };
        Self::new(status, detail)
    }
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        let status =
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE { error.status() } else { StatusCode::BAD_REQUEST };
        Self::new(status, error.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Plain data.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}
