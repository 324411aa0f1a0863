//! Work that is done to its end, whoever stops waiting for it.

use tokio_util::task::TaskTracker;

/// Does it as a task among `tasks`, which whoever takes the host down waits for. `None` when
/// the host ended before it did; a panic in it goes on here.
pub async fn to_the_end<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    match tasks.spawn(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}
