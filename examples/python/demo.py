"""What distkv is for, on real data: a cluster that loses a node and nothing else.

Three processes on this machine form a cluster: two Python programs that embed a node, and the
standalone `distkv serve`. Every character of Unicode is written to it by many threads; in the middle
of that, one process is killed. The writers go on as soon as others lead in its place. Then every record
is read back through each node that is left, the killed one returns on its old data, and a table says
what was lost (nothing) and how long the writers had to wait.

Exit status: 0 if every record was acknowledged and none is lost or wrong, else 1.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import distkv
from tqdm import tqdm

from members import Command, Member, MemberFailed, Members
from records import Record, records
from workers import Writers, read_back

HERE = Path(__file__).resolve().parent
BINARY = HERE.parent.parent / "dist" / "bin" / "distkv"
SETTLED_WITHIN = 120.0
SAMPLE = 1000
BEGAN = time.monotonic()


@dataclass
class Result:
    """What the demo has found out."""

    records: int
    acknowledged: int = 0
    lost: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    without_leader: float = 0.0
    writes_a_second: float = 0.0

    def good(self) -> bool:
        return self.acknowledged == self.records and not self.lost and not self.wrong

    def table(self, data: str) -> str:
        rows = [
            ("records", f"{self.records:,}"),
            ("acknowledged", f"{self.acknowledged:,}"),
            ("lost", f"{len(self.lost):,}"),
            ("wrong", f"{len(self.wrong):,}"),
            ("seconds without a leader", f"{self.without_leader:.2f}"),
            ("writes/s", f"{self.writes_a_second:,.0f}"),
            ("data", data),
        ]
        return "\n".join(f"{name:<24}  {value}" for name, value in rows)


def run(home: Path, binary: Path, all_records: Sequence[Record], threads: int) -> Result:
    result = Result(len(all_records))
    with Members(home) as members:
        say("starting three nodes")
        first = members.start("python-1", embedded)
        second = members.start("python-2", embedded, [first.address])
        third = members.start("standalone", standalone(binary), [first.address])
        cluster = [first, second, third]
        wait_until_settled(cluster, lambda status: status.replicas == status.partitions)
        for member in cluster:
            say(f"{member.name} is ready: node {member.id} at {member.address}")

        victim = max(cluster, key=lambda member: status_of(member).leaders)
        survivors = [member for member in cluster if member is not victim]
        replicas = status_of(victim).replicas
        with distkv.connect(",".join(member.address for member in cluster)) as client:
            write_and_kill(client, all_records, threads, members, victim, result)

        for member in survivors:
            with distkv.connect(member.address) as client:
                read_and_compare(client, member, all_records, threads, result)

        say(f"starting {victim.name} again, on the data it left")
        back = members.restart(victim, [member.address for member in survivors])
        wait_until_settled([back], lambda status: status.replicas == replicas and not status.lagging)
        sample = random.sample(all_records, min(SAMPLE, len(all_records)))
        with distkv.connect(back.address) as client:
            read_and_compare(client, back, sample, threads, result)
    return result


def embedded(data_dir: str, join: Sequence[str]) -> list[str]:
    """The command of a Python program that embeds a node."""
    program = [sys.executable, str(HERE / "embedded_node.py"), "--data-dir", data_dir]
    return program + (["--join", ",".join(join)] if join else [])


def standalone(binary: Path) -> Command:
    """The command of a node that is a program of its own."""

    def command(data_dir: str, join: Sequence[str]) -> list[str]:
        program = [str(binary), "serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]
        return program + (["--join", ",".join(join)] if join else [])

    return command


def status_of(member: Member) -> distkv.Status:
    """What a node knows of itself and its cluster."""
    with distkv.connect(member.address) as client:
        return client.status()


def wait_until_settled(cluster: Sequence[Member], enough: Callable[[distkv.Status], bool]) -> None:
    """Waits until each of these nodes has what it should, and a leader for every partition."""
    until = time.monotonic() + SETTLED_WITHIN
    for member in cluster:
        seen: object = None
        while True:
            try:
                seen = status = status_of(member)
                whole = not status.under_replicated and not status.leaderless
                if status.node == member.id and whole and enough(status):
                    break
            except distkv.Error as error:
                if not error.retryable:
                    raise
                seen = error
            if time.monotonic() >= until:
                raise MemberFailed(f"{member.name} has not settled, last seen: {seen!r}")
            time.sleep(0.1)


def write_and_kill(
    client: distkv.Client,
    all_records: Sequence[Record],
    threads: int,
    members: Members,
    victim: Member,
    result: Result,
) -> None:
    """Writes all records, and kills a node when half of them are written."""
    say(f"writing {len(all_records):,} records with {threads} threads")
    began, killed = time.monotonic(), False
    with progress("writing", len(all_records)) as bar, Writers(client, all_records, threads) as writers:
        over = False
        while not over:
            over = writers.wait(0.02)
            done = len(writers.acknowledged) + len(writers.refused)
            bar.update(done - bar.n)
            if not killed and 2 * done >= len(all_records):
                writers.lose_leader()
                members.kill(victim)
                killed = True
                say(f"killed {victim.name}, which led the most partitions")
        took = time.monotonic() - began
    result.acknowledged = len(writers.acknowledged)
    result.without_leader = writers.longest_wait
    result.writes_a_second = result.acknowledged / took
    for key, error in itertools.islice(writers.refused.items(), 10):
        say(f"not acknowledged: {key}: {error!r}")


def read_and_compare(
    client: distkv.Client,
    member: Member,
    some: Sequence[Record],
    threads: int,
    result: Result,
) -> None:
    """Reads records through one node; what is missing or different goes into the result."""
    say(f"reading {len(some):,} records back through {member.name}")
    with progress("reading", len(some)) as bar:
        lost, wrong = read_back(client, some, threads, bar.update)
    result.lost |= lost
    result.wrong |= wrong
    for key in sorted(lost | wrong)[:10]:
        say(f"{'lost' if key in lost else 'wrong'} through {member.name}: {key}")


def progress(what: str, total: int) -> "tqdm[Any]":
    """A progress bar, if there is a terminal to draw it on."""
    bar: tqdm[Any] = tqdm(total=total, desc=what, unit=" records", disable=None, leave=False)
    return bar


def say(what: str) -> None:
    tqdm.write(f"[{time.monotonic() - BEGAN:6.1f} s] {what}")
    sys.stdout.flush()


def size_of(directory: Path) -> str:
    """The space that a directory takes on disk."""
    sizes = (path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
    return f"{sum(sizes) / 2**20:,.0f} MiB"


def home_for(data_dir: Path | None, stack: ExitStack) -> tuple[Path, str]:
    """The directory for all data, and what becomes of it."""
    if data_dir is None:
        home = Path(tempfile.mkdtemp(prefix="distkv-demo-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        return home, "removed at the end, --data-dir keeps it"
    data_dir.mkdir(parents=True, exist_ok=True)
    # What an earlier run has left would hide what this one loses.
    if any(data_dir.iterdir()):
        raise SystemExit(f"the data directory must be empty data_dir=`{data_dir}`")
    return data_dir, "kept"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, metavar="N", help="stop after N [default: all]")
    parser.add_argument("--threads", type=int, default=64, metavar="N", help="[default: 64]")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="an empty directory, kept")
    parser.add_argument("--distkv", type=Path, default=BINARY, metavar="FILE", help="the binary")
    options = parser.parse_args()
    if options.records is not None and options.records < 1 or options.threads < 1:
        parser.error("--records and --threads must be at least 1")
    if not os.access(options.distkv, os.X_OK):
        parser.error(f"there is no program at {options.distkv}: `make build` first, or say --distkv")

    # So that a SIGTERM, too, stops what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    all_records = list(itertools.islice(records(), options.records))
    with ExitStack() as stack:
        home, fate = home_for(options.data_dir, stack)
        try:
            result = run(home, options.distkv, all_records, options.threads)
        except (MemberFailed, distkv.Error) as error:
            stack.pop_all()  # the logs are wanted now
            print(f"the demo failed, see the logs in {home}: {error}", file=sys.stderr)
            return 1
        print()
        print(result.table(f"{home} ({size_of(home)}, {fate})"))
        if not result.good():
            stack.pop_all()
            print(f"\nsomething was lost; the logs are in {home}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
