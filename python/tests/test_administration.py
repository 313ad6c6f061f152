"""Looking at who holds what, and changing it: nodes that leave, are removed, lead, and are tuned."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import distkv
import pytest
from conftest import wait_until_shared

NOBODY = "00000000000000ff"
PARTITIONS = 8


@pytest.fixture
def nodes() -> Iterator[list[distkv.Node]]:
    """Three nodes, each of which holds every partition."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(distkv.Node(partitions=PARTITIONS))]
        for zone in ("b", "c"):
            nodes.append(stack.enter_context(distkv.Node(join=[nodes[0].address], zone=zone)))
        for node in nodes:
            wait_until_shared(node)
        yield nodes


def until(condition: Callable[[], bool], what: object) -> None:
    """Waits for something that comes by itself."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_the_ring_is_plain_data(node: distkv.Node, db: distkv.Client) -> None:
    ring = db.ring()
    assert isinstance(ring, distkv.Ring)
    assert (ring.partitions, ring.replication_factor, ring.moves) == (64, 3, ())
    (load,) = ring.nodes
    assert isinstance(load, distkv.NodeLoad)
    assert (load.id, load.address, load.state) == (node.id, node.address, "up")
    assert (load.weight, load.zone) == (1.0, None)
    assert (load.replicas, load.leaders, load.target) == (64, 64, 64)
    assert dataclasses.asdict(ring)["nodes"][0]["id"] == node.id
    with pytest.raises(dataclasses.FrozenInstanceError):
        ring.epoch = 0  # type: ignore[misc]


def test_a_plan_tells_what_a_newcomer_would_get(node: distkv.Node, db: distkv.Client) -> None:
    assert db.plan().moves == ()
    before = db.ring()
    plan = db.plan(with_nodes=[distkv.Newcomer(weight=2, zone="b"), distkv.Newcomer()])
    assert isinstance(plan, distkv.Plan)
    assert plan.epoch == before.epoch
    # One node has room for one replica of each partition; with three each partition has three.
    loads = {load.id: (load.now, load.then) for load in plan.nodes}
    assert loads == {node.id: (64, 64), "new-1": (0, 64), "new-2": (0, 64)}
    assert {move.to_node for move in plan.moves} == {"new-1", "new-2"}
    assert len(plan.moves) == 128
    assert all(isinstance(move, distkv.PlannedMove) for move in plan.moves)
    assert plan.bytes == sum(move.bytes for move in plan.moves)
    assert plan.seconds >= 0
    assert db.ring() == before, "asking changes nothing"


def test_tuning_changes_what_is_named_and_keeps_the_rest(db: distkv.Client) -> None:
    first = db.tune()
    assert first == distkv.Tuning(
        moves_per_node=4, move_rate=0, paused=False, dead_node_timeout=300.0, max_dead_fraction=0.5
    )
    changed = db.tune(moves_per_node=5, move_rate=4 << 20, dead_node_timeout=1.5, max_dead_fraction=1.001)
    assert changed == distkv.Tuning(
        moves_per_node=5, move_rate=4 << 20, paused=False, dead_node_timeout=1.5, max_dead_fraction=1.001
    )
    assert db.tune(paused=True) == dataclasses.replace(changed, paused=True)
    assert db.tune() == db.ring().tuning == dataclasses.replace(changed, paused=True)
    again = dataclasses.asdict(first)
    assert db.tune(**again) == first


@pytest.mark.parametrize(
    "setting",
    [
        {"moves_per_node": 0},
        {"moves_per_node": -1},
        {"move_rate": 1},
        {"dead_node_timeout": 0.5},
        {"dead_node_timeout": -1.0},
        {"dead_node_timeout": float("nan")},
        {"max_dead_fraction": 0.0},
        {"max_dead_fraction": 1.5},
        {"max_dead_fraction": float("nan")},
        {"max_dead_fraction": -1e300},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(db: distkv.Client, setting: dict[str, float]) -> None:
    before = db.tune()
    with pytest.raises(distkv.InvalidArgumentError):
        db.tune(**setting)  # type: ignore[arg-type]
    assert db.tune() == before


def test_who_is_no_member_is_not_found(node: distkv.Node, db: distkv.Client) -> None:
    for ask in (
        lambda: db.leave(NOBODY),
        lambda: db.remove(NOBODY),
        lambda: db.remove(NOBODY, force=True),
        lambda: db.transfer(0, NOBODY),
        lambda: db.transfer(64, node.id),
        lambda: db.plan(without_nodes=[NOBODY]),
    ):
        with pytest.raises(distkv.NotFoundError):
            ask()


def test_what_makes_no_sense_is_refused(node: distkv.Node, db: distkv.Client) -> None:
    for ask in (
        lambda: db.leave("no id"),
        lambda: db.remove("no id"),
        lambda: db.transfer(0, "no id"),
        lambda: db.transfer(-1, node.id),
        lambda: db.transfer(1 << 16, node.id),
        lambda: db.plan(without_nodes=["no id"]),
        lambda: db.plan(with_nodes=[distkv.Newcomer(weight=0)]),
        lambda: db.plan(without_nodes=[node.id]),
        lambda: db.leave(node.id),
        lambda: db.remove(node.id, force=True),
        lambda: node.leave(timeout=30),
        lambda: node.leave(timeout=-1),
        lambda: node.wait_departed(timeout=-1),
    ):
        with pytest.raises(distkv.InvalidArgumentError):
            ask()
    with pytest.raises(TypeError):
        db.plan(without_nodes=node.id)
    with pytest.raises((TypeError, AttributeError)):
        db.plan(with_nodes=[1.0])  # type: ignore[list-item]
    assert node.wait_departed(timeout=0) is False


def test_a_node_leaves_and_what_it_held_is_there(nodes: list[distkv.Node]) -> None:
    *stay, leaver = nodes
    records = {f"key-{n}".encode(): f"value-{n}".encode() for n in range(100)}
    with stay[0].client() as db:
        for key, value in records.items():
            db.put(key, value, timeout=30)
        plan = db.plan(without_nodes=[leaver.id])
        assert {load.id for load in plan.nodes} >= {node.id for node in stay}
        assert not leaver.wait_departed(timeout=0)

        leaver.leave(timeout=120)

        with pytest.raises(distkv.ClosedError):
            leaver.status()
        until(lambda: leaver.id not in {load.id for load in db.ring().nodes}, db.ring())
        assert leaver.id not in {member.id for member in db.members()}
        for node in stay:
            wait_until_shared(node)
        for key, value in records.items():
            assert db.get(key, timeout=30) == value
        assert {load.replicas for load in db.ring().nodes} == {PARTITIONS}


def test_a_node_that_others_send_away_gets_to_know(nodes: list[distkv.Node]) -> None:
    *stay, leaver = nodes
    with stay[0].client() as db:
        db.leave(leaver.id)
        db.leave(leaver.id)
        assert leaver.wait_departed(timeout=120) is True
        until(lambda: len(db.members()) == 2, db.members())
        leaver.close()
        db.put("after", "it", timeout=30)
        assert db.get("after", timeout=30) == b"it"


def test_leaving_takes_its_time_and_says_so(nodes: list[distkv.Node]) -> None:
    *stay, leaver = nodes

    def asked() -> bool:
        with pytest.raises(distkv.TimeoutError, match=f"goes on leaving node=`{leaver.id}`"):
            leaver.leave(timeout=0.5)
        return leaver.status().leaving

    with stay[0].client() as db:
        db.tune(paused=True)
        until(asked, "leaving")
        assert leaver.wait_departed(timeout=0) is False
        db.tune(paused=False)
        assert leaver.wait_departed(timeout=120) is True


def test_a_dead_node_is_removed_and_one_that_is_up_is_not(nodes: list[distkv.Node]) -> None:
    *stay, dead = nodes
    with stay[0].client() as db:
        db.put("before", "it", timeout=30)
        with pytest.raises(distkv.InvalidArgumentError):
            db.remove(dead.id)
        dead.close()
        until(lambda: "down" in {load.state for load in db.ring().nodes}, db.ring())
        db.remove(dead.id, timeout=30)
        until(lambda: dead.id not in {member.id for member in db.members()}, db.members())
        assert db.get("before", timeout=30) == b"it"


def test_a_partition_is_led_where_it_was_transferred_to(nodes: list[distkv.Node]) -> None:
    with nodes[0].client() as db:
        for partition in range(PARTITIONS):
            for node in nodes:
                db.transfer(partition, node.id, timeout=30)
        until(lambda: sum(load.leaders for load in db.ring().nodes) == PARTITIONS, db.ring())
