"""Three nodes in one process, and clients over the network."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import distkv
import pytest


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[distkv.Node]]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(distkv.Node(partitions=8))]
        for zone in ("b", "c"):
            nodes.append(stack.enter_context(distkv.Node(join=[nodes[0].address], zone=zone)))
        until = time.monotonic() + 60
        while not all(settled(node) for node in nodes):
            assert time.monotonic() < until, [node.status() for node in nodes]
            time.sleep(0.05)
        yield nodes


def settled(node: distkv.Node) -> bool:
    status = node.status()
    return (status.replicas, status.leaderless, status.under_replicated, status.moves) == (8, 0, 0, 0)


def test_nodes_are_members_of_one_cluster(nodes: list[distkv.Node]) -> None:
    assert len({node.id for node in nodes}) == 3
    assert len({node.cluster for node in nodes}) == 1
    with nodes[1].client() as client:
        members = {member.id: member for member in client.members()}
    assert set(members) == {node.id for node in nodes}
    assert [members[node.id].zone for node in nodes] == [None, "b", "c"]
    assert [members[node.id].address for node in nodes] == [node.address for node in nodes]


def test_what_one_takes_every_other_gives(nodes: list[distkv.Node]) -> None:
    clients = [node.client() for node in nodes]
    clients += [distkv.connect(node.address) for node in nodes]
    clients.append(distkv.connect(",".join(node.address for node in nodes)))
    for n, writer in enumerate(clients):
        revision = writer.put("shared", f"by {n}", timeout=30)
        for reader in clients:
            assert reader.get_entry("shared", timeout=30) == distkv.Entry(f"by {n}".encode(), revision)
    for client in clients:
        client.close()


def test_a_client_needs_only_one_that_lives(nodes: list[distkv.Node]) -> None:
    with distkv.connect(f"127.0.0.1:1,{nodes[2].address}") as client:
        client.put("one lives", "yes", timeout=30)
        assert client.get("one lives", timeout=30) == b"yes"
