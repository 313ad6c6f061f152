"""Ctrl-C ends a blocking call."""

from pathlib import Path

from conftest import Run, succeeded

# A thread of the program sends the signal once the main thread is inside `blocked`; the program then
# prints how long the call took to end.
FRAME = """
import os, signal, sys, threading, time
import distkv

# A shell that runs the tests in the background hands them an ignored SIGINT, and Python keeps that.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "blocked":
        time.sleep(0.01)
    time.sleep(0.3)  # from the first line of `blocked` into the library
    globals()["sent"] = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)

def expect_interrupt(blocked):
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        blocked()
    except KeyboardInterrupt:
        print(time.monotonic() - sent)
    else:
        print("not interrupted")
"""


def test_while_a_node_starts(run: Run) -> None:
    program = """
def blocked():
    distkv.Node(join=["127.0.0.1:1"], start_timeout=60)
expect_interrupt(blocked)
"""
    assert float(succeeded(run(FRAME + program))) < 2


def test_an_interrupted_start_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    program = """
def blocked():
    distkv.Node(sys.argv[1], join=["127.0.0.1:1"], start_timeout=60)
expect_interrupt(blocked)
# What was used to join is not used to found, unless that is asked for.
with distkv.Node(sys.argv[1], bootstrap=True) as node:
    node.client().put("k", "v")
"""
    assert float(succeeded(run(FRAME + program, str(tmp_path)))) < 2


def test_while_a_put_waits(run: Run) -> None:
    program = """
left = distkv.Node()
right = distkv.Node(join=[left.address])
db = left.client()
while left.status().under_replicated or left.status().moves:
    time.sleep(0.02)
right.close()
def blocked():
    db.put("k", "v", timeout=60)
expect_interrupt(blocked)
"""
    assert float(succeeded(run(FRAME + program))) < 2


def test_while_a_client_connects(run: Run) -> None:
    # An address of the range for documentation: no answer ever comes from there, or the network says
    # at once that there is no way, and the client goes on trying.
    program = """
def blocked():
    distkv.connect("192.0.2.1:7400", timeout=60)
expect_interrupt(blocked)
"""
    assert float(succeeded(run(FRAME + program))) < 2


def test_a_handler_of_ones_own_may_raise_what_it_likes(run: Run) -> None:
    program = """
class Enough(Exception):
    pass
def enough(*_):
    raise Enough
signal.signal(signal.SIGINT, enough)
def blocked():
    try:
        distkv.Node(join=["127.0.0.1:1"], start_timeout=60)
    except Enough:
        raise KeyboardInterrupt
expect_interrupt(blocked)
"""
    assert float(succeeded(run(FRAME + program))) < 2


def test_the_library_leaves_the_handlers_alone(run: Run) -> None:
    program = """
        import signal
        everything = [s for s in signal.Signals]
        before = {s: signal.getsignal(s) for s in everything}
        import distkv
        with distkv.Node() as node, node.client() as db:
            db.put("k", "v")
            print({s: signal.getsignal(s) for s in everything} == before)
    """
    assert succeeded(run(program)) == "True"
