//! The live page, and the JSON that it is made of.
//!
//! `GET /` is one self-contained HTML file. `GET /api/runs` is what it asks for each second; its fields
//! are described at [`view::RunsView`] and change only by addition.

mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use roaming_service::health::Health;
use roaming_store::Store;

use crate::observer::Observer;

const PAGE: &str = include_str!("page.html");

struct Pages<S> {
    observer: Arc<Observer<S>>,
    health: Health,
    owner: String,
}

/// Returns the routes `/` and `/api/runs`.
pub(crate) fn router<S: Store>(
    observer: Arc<Observer<S>>,
    health: Health,
    owner: String,
) -> Router {
    let pages = Arc::new(Pages { observer, health, owner });
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/api/runs", get(runs::<S>))
        .with_state(pages)
}

async fn runs<S: Store>(State(pages): State<Arc<Pages<S>>>) -> Response {
    let sights = pages.observer.sights().await;
    let view = view::RunsView {
        version: env!("CARGO_PKG_VERSION"),
        consumer: &pages.owner,
        is_ready: pages.health.is_ready(),
        window_minutes: pages.observer.window().secs() / 60,
        runs: sights.iter().map(|sight| view::RunView::of(sight)).collect(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
}
