//! Changes are carried out to their end, whoever hangs up.
//!
//! A change is a step in the store, one in memory, and a line of the audit log. hyper drops a
//! request whose client is gone; dropped between two of these steps the host would go on with
//! what the store does not say any more until it is restarted. So each is a task of its own,
//! and the server waits for all of them before it ends.

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::task::TaskTracker;

use crate::tasks::to_the_end;

/// What is cut all the same, because it is dear and its last step alone changes something: the
/// deployer carries that one out to its end by itself, and so does the invoker a run.
const CUT: [&str; 8] = [
    "/api/v1/workflows/{name}/versions",
    "/api/v1/workflows/{name}/runs",
    "/api/v1/runs/{id}/replay",
    "/api/v1/runtimes/{name}",
    "/workflows/{name}/function/deploy",
    "/workflows/{name}/function/upload",
    "/workflows/{name}/function/test",
    "/runs/{id}/again",
];

/// Answers a request; what changes something goes on without its caller.
pub(super) async fn carry_out(
    State(tasks): State<TaskTracker>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let is_cut = path.is_some_and(|path| CUT.contains(&path.as_str()));
    if is_cut || request.method().is_safe() {
        return next.run(request).await;
    }
    // Of a panic the connection tells the caller, and counts it.
    let response = to_the_end(&tasks, next.run(request)).await;
    response.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Body;
    use axum::http::Method;
    use axum::middleware;
    use axum::routing::any;
    use futures::FutureExt as _;
    use tokio::sync::Semaphore;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn change_goes_on_when_its_caller_hangs_up_and_nothing_else_does() {
        let (gate, ended, tasks) =
            (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        let handler = {
            let (gate, ended) = (gate.clone(), ended.clone());
            async move || {
                let _passed = gate.acquire().await;
                ended.fetch_add(1, Ordering::SeqCst);
            }
        };
        let router: Router = Router::new()
            .route("/change", any(handler.clone()))
            .route(CUT[0], any(handler))
            .route_layer(middleware::from_fn_with_state(tasks.clone(), carry_out));
        let mut going = Vec::new();
        for (method, path) in [
            (Method::PATCH, "/change"),
            (Method::GET, "/change"),
            (Method::POST, "/api/v1/workflows/a/versions"),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let mut answering = Box::pin(router.clone().oneshot(request));
            assert!((&mut answering).now_or_never().is_none());
            going.push(answering);
        }
        // The clients are gone.
        drop(going);
        gate.add_permits(10);
        tasks.close();
        tasks.wait().await;
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}
