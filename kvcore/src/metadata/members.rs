//! Who is in: how the map changes when nodes come, go and die.

use super::change::{Decision, NewMember};
use super::state::{Move, State, refused};
use crate::types::{Kind, NodeId};

impl State {
    pub(super) fn join(&mut self, member: NewMember, replaces: Option<NodeId>) -> Decision {
        if !self.founded() {
            return refused(Kind::Unavailable, "the cluster has not been founded yet");
        }
        if self.removed.contains(&member.node) {
            return refused(
                Kind::InvalidArgument,
                "the node was removed from the cluster; with an empty data directory it is a new one",
            );
        }
        if let Some(known) = self.members.get_mut(&member.node) {
            // Asked again, since the first answer was lost: the same answer.
            let metadata = known.metadata;
            if known.address != member.address {
                known.address = member.address;
                self.advance();
            }
            return Decision::Joined { metadata };
        }
        if let Some(gone) = replaces.and_then(|gone| self.members.get(&gone)) {
            if gone.address != member.address {
                return refused(Kind::Unavailable, "the member to be replaced is elsewhere by now");
            }
            let gone = gone.node;
            self.expel(gone);
        }
        let metadata = self.issue();
        self.members.insert(member.node, member.into_member(metadata));
        self.advance();
        Decision::Joined { metadata }
    }

    pub(super) fn readdress(&mut self, node: NodeId, address: String) -> Decision {
        match self.members.get_mut(&node) {
            None => refused(Kind::NotFound, "no such member"),
            Some(member) if member.address == address => Decision::Done,
            Some(member) => {
                member.address = address;
                self.advance();
                Decision::Done
            }
        }
    }

    pub(super) fn leave(&mut self, node: NodeId) -> Decision {
        let others = self.members.values().any(|member| member.node != node && member.stays());
        match self.members.get_mut(&node) {
            None => self.gone(node),
            Some(member) if member.leaving => Decision::Done,
            Some(_) if !others => {
                refused(Kind::InvalidArgument, "nobody would be left to hold what it holds")
            }
            Some(member) => {
                member.leaving = true;
                // What is on its way to it need not arrive; a damaged replica has no way back.
                let to_it = |step: &Move| step.add.is_some_and(|coming| coming.node == node);
                self.moves.retain(|_, step| !to_it(step) || step.lost);
                self.advance();
                Decision::Done
            }
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) -> Decision {
        if !self.members.contains_key(&node) {
            return self.gone(node);
        }
        if self.members.len() == 1 {
            return refused(Kind::InvalidArgument, "the last member cannot be removed");
        }
        self.expel(node);
        self.advance();
        Decision::Done
    }

    pub(super) fn mark(&mut self, node: NodeId, dead: bool) -> Decision {
        match self.members.get_mut(&node) {
            None => self.gone(node),
            Some(member) if member.dead == dead => Decision::Done,
            Some(member) => {
                member.dead = dead;
                if dead {
                    // What was to take the place of a damaged replica there will not come, and that one has
                    // no way back: it leaves its group, and another node gets one.
                    let there = |step: &Move| step.add.is_some_and(|coming| coming.node == node);
                    let stuck = self.moves.values_mut().filter(|step| there(step));
                    stuck.filter(|step| step.lost).for_each(|step| step.add = None);
                }
                self.advance();
                Decision::Done
            }
        }
    }

    /// Forgets a member for ever. Its replicas stay in the table until moves have replaced them.
    fn expel(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.moves.retain(|_, step| step.add.is_none_or(|replica| replica.node != node));
        self.removed.insert(node);
    }

    /// What is asked of one that is no member: it may have been done before, and the answer was lost.
    fn gone(&self, node: NodeId) -> Decision {
        match self.removed.contains(&node) {
            true => Decision::Done,
            false => refused(Kind::NotFound, "no such member"),
        }
    }
}

#[cfg(test)]
#[path = "members_test.rs"]
mod tests;
