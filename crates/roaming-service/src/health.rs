//! `/metrics`, `/healthz` and `/readyz`, and whatever else a daemon serves beside them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{Router, get};
use prometheus::{Registry, TextEncoder};
use serde::Serialize;
use tokio::net::TcpListener;

/// What a daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has bound its port and is getting ready.
    #[default]
    Starting,
    /// It does its work.
    Running,
    /// It was asked to stop and hands its work over.
    Stopping,
    /// A task failed; the process ends.
    Failed,
}

/// What `/readyz` and `/healthz` answer; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: Arc<Mutex<HealthState>>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct HealthState {
    phase: Phase,
    /// Why the daemon is not ready although it runs, by the part that says so.
    reasons: BTreeMap<&'static str, String>,
}

impl Health {
    /// Says what the daemon is doing now.
    pub fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// Returns what the daemon is doing.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Says that `part` keeps the daemon from being ready, and why.
    pub fn hold(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().reasons.insert(part, reason.into());
    }

    /// Takes back what [`hold`](Self::hold) said for `part`.
    pub fn release(&self, part: &'static str) {
        self.lock().reasons.remove(part);
    }

    /// Whether the daemon runs and nothing holds it.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Running && state.reasons.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        // Every write is one assignment, so that a poisoned lock holds nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bound port that does not answer yet.
#[derive(Debug)]
pub struct HealthServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HealthServer {
    /// Binds `address`; port 0 takes a free one. `setting` names what changes it, for the error.
    ///
    /// # Errors
    /// Fails where the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<Self, BindError> {
        let taken = |source| BindError { address, setting, source };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self { listener, address })
    }

    /// Returns the address with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done: `/metrics` from `registry`, `/healthz` and `/readyz` from `health`,
    /// and the routes of `extra`.
    ///
    /// # Errors
    /// Fails where the socket does.
    pub async fn serve(
        self,
        registry: Registry,
        health: Health,
        extra: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = router(registry, health).merge(extra);
        axum::serve(self.listener, router).with_graceful_shutdown(stop).await
    }
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("port {port} on {ip} could not be opened; end what holds it, or choose another with {setting}", port = address.port(), ip = address.ip())]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What changes it: an option and a variable.
    pub setting: &'static str,
    /// What the operating system said.
    pub source: io::Error,
}

fn router(registry: Registry, health: Health) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(metrics)
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(health): State<Health>) -> Response {
    let state = health.lock().clone();
    let status = match state.phase {
        Phase::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Phase::Starting | Phase::Running | Phase::Stopping => StatusCode::OK,
    };
    (status, Json(state)).into_response()
}

async fn readyz(State(health): State<Health>) -> Response {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let state = health.lock().clone();
    (status, Json(state)).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    const ANY_PORT: &str = "127.0.0.1:0";

    async fn ask(address: SocketAddr, path: &'static str) -> String {
        let asking = tokio::task::spawn_blocking(move || -> io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asking.await.expect("no panic").expect("an answer")
    }

    #[tokio::test]
    async fn readiness_says_the_phase_and_every_reason() {
        let server = HealthServer::bind(ANY_PORT.parse().expect("address"), "--listen")
            .await
            .expect("a free port");
        let address = server.address();
        let health = Health::default();
        let extra = Router::new().route("/", get(|| async { "page" }));
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("roaming_test_total", "Help.").expect("counter");
        registry.register(Box::new(counter)).expect("register");
        tokio::spawn(server.serve(registry, health.clone(), extra, std::future::pending()));

        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        health.enter(Phase::Running);
        health.hold("store", "cannot be reached");
        let held = ask(address, "/readyz").await;
        assert!(held.starts_with("HTTP/1.1 503"), "{held}");
        assert!(
            held.ends_with(r#"{"phase":"running","reasons":{"store":"cannot be reached"}}"#),
            "{held}"
        );
        health.release("store");
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").await.contains("roaming_test_total 0"));
        assert!(ask(address, "/").await.ends_with("page"));
        health.enter(Phase::Failed);
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 500"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_setting_that_changes_it() {
        let first = HealthServer::bind(ANY_PORT.parse().expect("address"), "--listen")
            .await
            .expect("a free port");
        let error = HealthServer::bind(first.address(), "--listen").await.expect_err("taken");
        let message = error.to_string();
        assert!(message.contains(&first.address().port().to_string()), "{message}");
        assert!(message.contains("--listen"), "{message}");
    }
}
