"""The package is what its stubs and the library's table of errors say."""

import builtins
import dataclasses
import pickle
import re
import subprocess
import sys

import distkv
import pytest
from distkv import _errors, _native


def test_the_stubs_are_true() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "distkv"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_all_that_is_exported_is_there() -> None:
    for name in distkv.__all__:
        assert hasattr(distkv, name), name
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", distkv.__version__)


@pytest.mark.parametrize("row", _native.KINDS, ids=lambda row: row[1])
def test_every_kind_of_error_has_its_class(row: tuple[int, str, bool, bool]) -> None:
    code, kind, retryable, maybe_applied = row
    cls = getattr(distkv, f"{kind}Error")
    assert issubclass(cls, distkv.Error)
    assert f"{kind}Error" in distkv.__all__
    assert cls.__doc__
    error = cls("a reason")
    assert (error.code, error.kind) == (code, kind)
    assert (error.retryable, error.maybe_applied) == (retryable, maybe_applied)
    assert str(error) == error.message == "a reason"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.args) == (cls, "a reason", ("a reason",))


def test_no_class_of_error_is_without_a_kind() -> None:
    assert set(distkv.Error.__subclasses__()) == set(_errors.CLASSES.values())
    assert len(_errors.CLASSES) == len(_native.KINDS)


def test_errors_are_also_what_python_programs_catch() -> None:
    assert issubclass(distkv.TimeoutError, builtins.TimeoutError)
    assert issubclass(distkv.InvalidArgumentError, ValueError)
    assert issubclass(distkv.TooLargeError, ValueError)
    assert distkv.ConflictError("x").revision is None


def test_a_panic_is_an_error_that_programs_catch() -> None:
    # Panics are reported on stderr by Rust; what matters is what is raised.
    with pytest.raises(distkv.InternalError, match="on purpose") as caught:
        _native._panic()
    assert caught.value.maybe_applied


def test_a_node_says_who_it_is(node: distkv.Node) -> None:
    assert re.fullmatch("[0-9a-f]{16}", node.id)
    assert re.fullmatch("[0-9a-f]{32}", node.cluster)
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", node.address)
    assert repr(node) == f"<distkv.Node id={node.id} address={node.address} cluster={node.cluster}>"


def test_a_status_is_plain_data(node: distkv.Node) -> None:
    status = node.status()
    assert isinstance(status, distkv.Status)
    assert (status.node, status.cluster, status.address) == (node.id, node.cluster, node.address)
    assert status.version == distkv.__version__
    assert (status.partitions, status.replication_factor) == (64, 3)
    assert (status.leaders, status.leaderless, status.under_replicated) == (64, 0, 0)
    assert (status.durable, status.leaving, status.snapshot_bytes_received) == (False, False, 0)
    assert status.metadata_leader == node.id
    assert dataclasses.asdict(status)["node"] == node.id
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.node = "another"  # type: ignore[misc]


def test_members_are_plain_data(node: distkv.Node, db: distkv.Client) -> None:
    (member,) = db.members()
    assert isinstance(member, distkv.Member)
    assert (member.id, member.address, member.state) == (node.id, node.address, "up")
    assert (member.weight, member.zone, member.replicas) == (1.0, None, 64)
