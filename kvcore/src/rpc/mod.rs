//! Calls between processes: a link for each pair, and what goes over it.
//!
//! Two processes of a cluster talk over one **link**: a long-lived gRPC stream that carries packets of
//! frames both ways. Whoever dialed, either side may ask over it, so a pair of nodes needs no second
//! connection, and a client is reached over the one that it opened itself. One stream instead of one
//! gRPC call for each request costs a fiftieth of the processor time, since whatever waits at the same
//! moment travels in the same packet. Only snapshots, which are large and can wait, have a link of their
//! own beside it, so that nothing stands behind them.
//!
//! The life of a call: a [`Peer`] stands for one process, known by its node id or by its address.
//! [`Peer::call`] asks the [`Pool`] for the link there; if there is none, a new one is put in place
//! and dialed, and calls wait in it. The request goes into the link's `queue`, in one of two lanes:
//! elections before appends. The link's writer takes what is there, up to 256 KiB,
//! and sends it; it never waits for more to come. On the other side the link's reader hands each
//! request, in order, to the [`Handler`], lets the future it gets run beside the others (`serving`),
//! and queues the reply. The reply finds its caller by the number of the call (`calls`).
//!
//! A link begins with a `hello` each way: who is there, of which cluster? Processes of two clusters
//! refuse each other; a node that is found under another's address is not talked to. Then the link
//! enters the `slots`, where calls look for it, under the node that it leads to.
//!
//! What can go wrong has one of few outcomes. What was not sent fails with `Unavailable`, what was
//! sent and not answered with `Timeout`: the caller always knows whether it may simply try again. A
//! link that falls silent is noticed by pings after two seconds, and a peer that cannot be dialed
//! fails calls at once for a short while. Everything is bounded: the bytes in a queue, the requests
//! and bytes being handled, the calls waiting, the connections accepted, the time for a hello; at a
//! bound the answer is `Overloaded`. The requests of replicas have room of their own, because those of
//! clients wait for them.
//!
//! `grpc` is the only place that knows what a link travels on, and [`message`] and [`convert`] are the
//! only ones that know how it is written down.

mod calls;
pub mod convert;
mod grpc;
mod handler;
mod hello;
mod link;
pub mod message;
mod peer;
mod pool;
mod queue;
mod serving;
mod slots;

pub use handler::{Answer, Caller, Handler};
pub use hello::Identity;
pub use peer::Peer;
pub use pool::Pool;
