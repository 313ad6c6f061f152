"""Who holds what in a cluster, what is to move, and how eagerly."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoad:
    """One member, and what it holds."""

    id: str
    """The member's id, in hexadecimal."""
    address: str
    """What it is dialled at."""
    state: str
    """`up`; `leaving`; `down` while the answering node has no link to it; `dead` once its replicas are
    being made anew on others."""
    weight: float
    """Its share against others."""
    zone: str | None
    """Its failure zone, if it has one."""
    replicas: int
    """Replicas placed on it."""
    leaders: int
    """Partitions that it leads just now; for one that cannot be reached, that prefer it."""
    bytes: int
    """About how many bytes of state it holds; 0 if it cannot be reached."""
    target: int
    """Replicas that it would hold if all was as it should be with the members there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A replica on its way."""

    partition: int
    """Of which partition."""
    from_node: str | None
    """The id of the node that gives one up; None if the partition gains one."""
    to_node: str | None
    """The id of the node that gets one; None if the partition loses one."""
    bytes: int
    """About how many bytes the partition has; 0 if its leader is not known."""
    sent: int
    """What of that has been sent as a snapshot. It may never be any, where the log is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How eagerly a cluster moves replicas, and what it takes for dead."""

    moves_per_node: int
    """Replicas on their way to one node at a time. 4 at first."""
    move_rate: int
    """Bytes a second that each node sends of replicas; 0, as at first: each node's own rate."""
    paused: bool
    """Whether no more moves are to begin; those under way are finished. False at first."""
    dead_node_timeout: float
    """Seconds without a link after which a node counts as dead, and its replicas are made anew on
    others. 300 at first."""
    max_dead_fraction: float
    """If this part of the nodes or more vanishes at once, none of it is taken for dead. 0.5 at first;
    1.001 takes any number for dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Who holds and leads how much, and what is on its way, as the answering node sees it."""

    epoch: int
    """The epoch of the placement."""
    partitions: int
    """Partitions of the cluster."""
    replication_factor: int
    """The replication factor the cluster was founded with."""
    nodes: tuple[NodeLoad, ...]
    """The members, by their ids."""
    moves: tuple[Move, ...]
    """The moves under way, by partition."""
    tuning: Tuning
    """How eagerly replicas move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A node that is not there yet, to ask what would move if it came."""

    weight: float = 1.0
    """Its share against others, 0.01 to 100."""
    zone: str | None = None
    """Its failure zone, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMove:
    """One move to come."""

    partition: int
    """Of which partition."""
    from_node: str | None
    """The id of the node that gives a replica up; None if the partition gains one."""
    to_node: str | None
    """The id of the node that gets one, `new-1` for the first newcomer; None if the partition loses
    one."""
    bytes: int
    """About how many bytes it would get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """What one node holds, and would hold."""

    id: str
    """The node's id, `new-1` for the first newcomer."""
    now: int
    """Replicas now, those on their way counted as there."""
    then: int
    """Replicas then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to move, and about how long that takes."""

    epoch: int
    """The epoch of the placement it is made from."""
    moves: tuple[PlannedMove, ...]
    """The moves, in the order in which they would begin. Those under way are not among them."""
    bytes: int
    """What all of them would send."""
    seconds: float
    """About how many seconds that takes, as the cluster is tuned."""
    nodes: tuple[PlannedLoad, ...]
    """What each node holds now and would hold then, newcomers included, by their ids."""
