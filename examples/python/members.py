"""The processes of a cluster on this machine: starting them, killing one, stopping them all."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

READY_WITHIN = 90.0
STOPPED_WITHIN = 30.0

Command = Callable[[str, Sequence[str]], list[str]]
"""Makes a command line from a data directory and the addresses to join."""


class MemberFailed(Exception):
    """A process did not do what it should; the message says which, and what it said last."""


@dataclass
class Member:
    """One process that is a member of the cluster."""

    name: str
    command: Command
    process: subprocess.Popen[str]
    id: str
    address: str
    cluster: str


class Members:
    """The members, each with its data in a directory of its own name. Leaving `with` stops those that
    still run."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, name: str, command: Command, join: Sequence[str] = ()) -> Member:
        """Starts a process and waits until it says that it is ready."""
        log = self._home / f"{name}.log"
        with log.open("a") as errors:
            process = subprocess.Popen(
                command(str(self._home / name), join),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is meant for the program that started it, which then stops it in order.
                start_new_session=True,
            )
        self._processes.append(process)
        line = first_line(process, READY_WITHIN)
        words = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        if not line.startswith("ready ") or not words.keys() >= {"node", "listen", "cluster"}:
            said = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
            raise MemberFailed(f"{name} is not ready, it printed {line!r}; the end of {log}:\n{said}")
        return Member(name, command, process, words["node"], words["listen"], words["cluster"])

    def kill(self, member: Member) -> None:
        """Ends a member as a power cut would: it can neither save nor say anything."""
        member.process.kill()
        self._reap(member.process)

    def restart(self, member: Member, join: Sequence[str]) -> Member:
        """Starts a member that has ended, on the data that it left."""
        return self.start(member.name, member.command, join)

    def stop(self) -> None:
        """Asks all that still run to end, and insists if one does not."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + STOPPED_WITHIN
        for process in list(self._processes):
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            self._reap(process)

    def _reap(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        if process.stdout:
            process.stdout.close()
        self._processes.remove(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def first_line(process: subprocess.Popen[str], within: float) -> str:
    """The first line a process prints; less, or nothing, if it ends or takes too long."""
    assert process.stdout is not None
    descriptor, read = process.stdout.fileno(), b""
    until = time.monotonic() + within
    while b"\n" not in read:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        more = os.read(descriptor, 4096) if ready else b""
        if not more:
            break
        read += more
    return read.decode(errors="replace").partition("\n")[0]
