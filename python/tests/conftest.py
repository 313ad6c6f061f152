"""Stores and programs to test with."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import distkv
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def node() -> Iterator[distkv.Node]:
    """A cluster of one, in memory. Tests that share it use keys of their own."""
    with distkv.Node() as node:
        yield node


@pytest.fixture
def db(node: distkv.Node) -> Iterator[distkv.Client]:
    """A client over that node."""
    with node.client() as client:
        yield client


@pytest.fixture
def halved() -> Iterator[distkv.Node]:
    """What is left of a cluster of two after one is gone: it answers, but no write gets a majority."""
    with distkv.Node() as left:
        right = distkv.Node(join=[left.address])
        wait_until_shared(left)
        right.close()
        yield left


def wait_until_shared(node: distkv.Node) -> None:
    """Waits until each partition has all the replicas that the cluster's nodes can give it."""
    deadline = time.monotonic() + 60
    while (status := node.status()).under_replicated or status.moves:
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


@pytest.fixture
def run() -> Run:
    """Runs a Python program in a process of its own, to its end."""

    def run(program: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """The output of a program that must have ended well and without a word of complaint."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()
