//! How the map reaches the node around it.

use std::sync::Arc;

use tokio::sync::watch;

use super::state::State;

/// The newest state that is applied here. Cheap to clone.
pub type Watch = watch::Receiver<Arc<State>>;

/// Where newer states are published. It outlives the replica that publishes, so that nobody takes the
/// end of a replica for news.
#[derive(Clone)]
pub(super) struct Publisher(Arc<watch::Sender<Arc<State>>>);

impl Publisher {
    pub(super) fn new() -> (Publisher, Watch) {
        let (sender, watch) = watch::channel(Arc::default());
        (Publisher(Arc::new(sender)), watch)
    }

    pub(super) fn publish(&self, state: State) {
        self.0.send_replace(Arc::new(state));
    }
}
