"""Handles: closing them, forgetting to, and what is left afterwards."""

import gc
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distkv
import pytest

from conftest import Run, succeeded


def calls(client: distkv.Client) -> list[Callable[[], Any]]:
    return [
        lambda: client.put("k", "v"),
        lambda: client.get("k"),
        lambda: client.get_entry("k"),
        lambda: client.delete("k"),
        client.status,
        client.members,
        client.__enter__,
    ]


def assert_closed(calls: list[Callable[[], Any]]) -> None:
    for call in calls:
        with pytest.raises(distkv.ClosedError, match="is closed") as caught:
            call()
        assert not caught.value.retryable


def test_a_closed_client_refuses_every_call(node: distkv.Node) -> None:
    client = node.client()
    client.close()
    client.close()
    assert_closed(calls(client))
    assert repr(client) == "<distkv.Client closed>"
    node.client().put("another client", "goes on")


def test_a_closed_node_refuses_every_call() -> None:
    node = distkv.Node()
    client = node.client()
    node.close()
    node.close()
    assert_closed([node.client, node.status, node.__enter__])
    with pytest.raises((distkv.ClosedError, distkv.CancelledError)):
        client.put("k", "v")
    assert repr(node).endswith(" closed>")
    # What it was may still be asked, for messages.
    assert node.id and node.cluster and node.address


def test_with_closes() -> None:
    with distkv.Node() as node, node.client() as client:
        client.put("k", "v")
    assert_closed([*calls(client), node.status])


def test_with_closes_on_an_exception_and_lets_it_pass(node: distkv.Node) -> None:
    with pytest.raises(ZeroDivisionError):
        with node.client() as client:
            1 / 0  # noqa: B018
    assert_closed(calls(client))


def test_open_keeps_what_it_is_given(tmp_path: Path) -> None:
    with distkv.open(tmp_path / "data") as db:
        db.put("k", "v")
        assert db.status().durable is True
    assert_closed(calls(db))
    with distkv.open(str(tmp_path / "data")) as db:
        assert db.get("k") == b"v"


def test_a_node_in_memory_keeps_to_its_limit() -> None:
    limit, value = 16 << 20, bytes(1 << 20)
    with distkv.Node(memory_limit=limit) as node, node.client() as client:
        held = 0
        with pytest.raises(distkv.OverloadedError, match="memory is full"):
            for held in range(2 * limit // len(value)):  # noqa: B007
                client.put(str(held), value)
        assert limit // len(value) - 1 <= held <= limit // len(value)
        assert client.get("0") == value  # reads go on
        for number in range(held):
            client.delete(str(number))
        assert client.put("again", value) > 0
        assert (node.status().full, node.status().damaged) == (False, 0)


def test_a_closed_node_lets_go_of_its_port() -> None:
    with distkv.Node() as node:
        address = node.address
    host, port = address.split(":")
    socket.create_server((host, int(port))).close()


def test_a_client_keeps_its_node_alive() -> None:
    client = distkv.Node().client()
    gc.collect()
    client.put("k", "v")
    assert client.get("k") == b"v"


def test_what_is_forgotten_is_closed(tmp_path: Path) -> None:
    db = distkv.open(tmp_path)
    db.put("k", "v")
    gone = weakref.ref(db)
    del db
    gc.collect()
    assert gone() is None
    with distkv.open(tmp_path) as db:
        assert db.get("k") == b"v"


def test_closing_ends_a_call_under_way(halved: distkv.Node) -> None:
    client = halved.client()
    raised: list[BaseException] = []

    def blocked() -> None:
        try:
            client.put("k", "v", timeout=60)
        except distkv.Error as error:
            raised.append(error)

    thread = threading.Thread(target=blocked)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive(), raised
    began = time.monotonic()
    client.close()
    thread.join(30)
    assert time.monotonic() - began < 5
    assert isinstance(raised[0], (distkv.ClosedError, distkv.CancelledError))


def test_an_exit_without_close_is_clean_and_loses_nothing(run: Run, tmp_path: Path) -> None:
    program = """
        import sys, distkv
        db = distkv.open(sys.argv[1])
        db.put("k", "v")
        node = distkv.Node()
        over = node.client()
        over.put("k", "v")
        remote = distkv.connect(node.address)
        remote.put("k", "v")
        cycle = [node, over]
        cycle.append(cycle)
        print("end")
    """
    began = time.monotonic()
    assert succeeded(run(program, str(tmp_path))) == "end"
    assert time.monotonic() - began < 20
    with distkv.open(tmp_path) as db:
        assert db.get("k") == b"v"


def test_an_exit_under_load_is_clean(run: Run) -> None:
    program = """
        import threading, distkv
        db = distkv.Node().client()
        started = threading.Semaphore(0)

        def load():
            try:
                while True:
                    db.put("k", "v")
                    started.release()
            except (distkv.ClosedError, distkv.CancelledError):
                pass

        for _ in range(8):
            threading.Thread(target=load, daemon=True).start()
        for _ in range(100):
            started.acquire()
        print("end")
    """
    for _ in range(5):
        assert succeeded(run(program)) == "end"


def test_an_exit_by_exception_is_clean(run: Run) -> None:
    done = run("import distkv; db = distkv.Node().client(); raise SystemExit(7)")
    assert (done.returncode, done.stderr) == (7, "")


def test_a_forked_child_is_told_and_leaves_the_parent_alone(run: Run, tmp_path: Path) -> None:
    program = """
        import os, sys, warnings, distkv
        warnings.simplefilter("ignore")  # Python's own, about forking a process with threads
        db = distkv.open(sys.argv[1])
        node = distkv.Node()
        db.put("k", "v")
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (db.status, node.status, node.client, lambda: db.put("k", "child")):
                try:
                    call()
                except distkv.ForkedError:
                    refused += 1
            db.close()
            del node
            sys.exit(refused)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), db.get("k"))
    """
    began = time.monotonic()
    assert succeeded(run(program, str(tmp_path))) == "4 b'v'"
    assert time.monotonic() - began < 20
