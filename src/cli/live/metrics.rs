//! Metrics for Prometheus over HTTP, served by a thread of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::live::LiveMetrics;
use crate::live::metrics::MEDIA_TYPE;

/// The latest metrics; none before the first.
type Latest = Arc<Mutex<Option<LiveMetrics>>>;

/// A server of metrics. Dropping it ends it.
pub struct MetricsServer {
    address: SocketAddr,
    latest: Latest,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens at `address`; port 0 takes any that is free.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let of_address = |error| Error::io(format!("--metrics {address}"), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(of_address)?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(of_address)?;
        let address = listener.local_addr().map_err(of_address)?;
        let latest = Latest::default();
        let routes = Router::new().route("/metrics", get(metrics)).with_state(latest.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            // Whoever is still being answered is cut off: a session ends at once.
            tokio::select! {
                _ = axum::serve(listener, routes).into_future() => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new().name("metrics".into());
        let thread = thread.spawn(move || runtime.block_on(serve)).map_err(of_address)?;
        Ok(Self { address, latest, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `metrics` what is served from now on.
    pub fn publish(&self, metrics: LiveMetrics) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn metrics(State(latest): State<Latest>) -> Response {
    let latest = *latest.lock().unwrap_or_else(PoisonError::into_inner);
    match latest {
        Some(metrics) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], metrics.text()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the session has not started yet\n").into_response(),
    }
}
