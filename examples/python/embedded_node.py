"""A program that is a member of a cluster: it embeds a node.

Prints `ready node=.. listen=.. cluster=..` once it can serve, and runs until SIGTERM or Ctrl-C. A real
program would go on to do its own work here, with `node.client()` at hand.
"""

import argparse
import signal
import sys
import time

import distkv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="where the data is [default: in memory]")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="IP:PORT")
    parser.add_argument("--join", default="", metavar="HOST:PORT,..", help="members of the cluster")
    options = parser.parse_args()
    join = [address for address in options.join.split(",") if address]

    # Ends the program wherever it is, even while the node still starts; `with` closes the node.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))

    with distkv.Node(options.data_dir, listen=options.listen, join=join) as node:
        print(f"ready node={node.id} listen={node.address} cluster={node.cluster}", flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
