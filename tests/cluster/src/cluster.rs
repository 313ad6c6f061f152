//! Seats whose nodes found each other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::patience::eventually;
use crate::process::signal;
use crate::seat::Seat;
use crate::stage::Stage;

/// A few nodes in one cluster.
pub struct Cluster {
    /// Where each of them sits; the first one founded the cluster.
    pub seats: Vec<Seat>,
}

impl Cluster {
    /// Starts `nodes` nodes: one founds the cluster, the others join it, all with these flags. Waits
    /// until all are members and every partition has its replicas.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn of(stage: &Stage, nodes: usize, flags: &[&str]) -> Cluster {
        let seats = (0..nodes).map(|nth| stage.seat(&format!("node-{nth}")));
        Cluster::found(seats.collect(), flags)
    }

    /// The same on seats that are there, the first of which founds the cluster.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn found(seats: Vec<Seat>, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster { seats };
        let (founder, others) = cluster.seats.split_first_mut().expect("a cluster has a node");
        founder.set(flags);
        founder.start();
        let join = format!("--join={}", founder.address);
        for seat in &mut *others {
            seat.set(&[flags, &[join.as_str()]].concat());
            seat.begin();
        }
        for seat in others {
            seat.finish();
        }
        cluster.wait_settled();
        cluster
    }

    /// The addresses of all seats, for a client.
    pub fn endpoints(&self) -> String {
        let addresses: Vec<_> = self.seats.iter().map(|seat| seat.address.as_str()).collect();
        addresses.join(",")
    }

    /// The addresses of those with a process.
    pub fn live_endpoints(&self) -> String {
        self.live().map(|seat| seat.address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Ends all processes at once by SIGKILL, as when the power goes.
    ///
    /// # Panics
    /// If one of them is gone already.
    #[track_caller]
    pub fn kill_all(&mut self) {
        let processes: Vec<_> = self.seats.iter().filter_map(Seat::running).collect();
        signal(&processes, "KILL");
        self.seats.iter_mut().filter(|seat| seat.is_taken()).for_each(Seat::reap);
    }

    /// Takes the power from all at once: their processes end by SIGKILL, and what was not synced is gone.
    ///
    /// # Panics
    /// If one of them is gone already, or on no power supply of its own.
    #[track_caller]
    pub fn lose_power(&mut self) {
        self.kill_all();
        self.seats.iter_mut().for_each(Seat::lose_power);
    }

    /// Starts all seats together, because none can be ready without a majority.
    ///
    /// # Panics
    /// If one does not become ready in time.
    #[track_caller]
    pub fn start_all(&mut self) {
        self.seats.iter_mut().for_each(Seat::begin);
        for seat in &mut self.seats {
            seat.finish();
        }
    }

    /// The replicas of a node, by group; it is restarted for that.
    ///
    /// # Panics
    /// If it does not end or start, or cannot be looked at.
    #[track_caller]
    pub fn replicas_of(&mut self, seat: usize) -> BTreeMap<String, u64> {
        self.seats[seat].ask_to_end("TERM");
        let replicas = self.seats[seat].replicas();
        self.seats[seat].start();
        self.wait_settled();
        replicas
    }

    /// Waits until every running node sees every running node as a member that is up, and knows each
    /// partition with a leader and all the replicas that it can have.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn wait_settled(&self) {
        eventually(Duration::from_secs(45), "the cluster to settle", || {
            let nodes = self.live().count();
            self.live().try_for_each(|seat| settled(seat, nodes))
        });
    }
}

pub(crate) fn settled(seat: &Seat, nodes: usize) -> Result<(), String> {
    let status = seat.status()?;
    if status.leaderless + status.moves + status.under_replicated > 0 {
        return Err(format!("{}: {status:?}", seat.label));
    }
    let members = seat.members()?;
    let up = members.iter().filter(|member| member.state == "up").count();
    if up != nodes {
        return Err(format!("{} sees {up} of {nodes} up: {members:?}", seat.label));
    }
    Ok(())
}
