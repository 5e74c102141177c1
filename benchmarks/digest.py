"""What the digest of each arrival's content costs: ``python -m benchmarks.digest [--link 1gbit]``.

The same SCP with the real spool, with SHA-256 of the content and without, takes turns at ``storescu`` of 15 MB. On
loopback, sender and receiver want the same processors as the hash. Over ``--link`` the loopback of a network namespace
of its own passes no more than that rate, as a network does between two machines (``unshare`` and ``tc``, as root).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.receive import Receiver, edgeai, write_instance
from edgeai.dicom.content import ContentDigest


class _NoDigest(ContentDigest):
    """Reads nothing; another digest for each instance, so that each is new."""

    def reach(self, written: int) -> None:
        del written

    def finish(self, written: int) -> None:
        del written

    def result(self) -> str:
        return f"sha256:{os.urandom(32).hex()}"


def without_digest(pipe: Connection, folder: Path) -> None:
    """The SCP with the spool, hashing nothing."""
    for name in ("reach", "finish", "result"):
        setattr(ContentDigest, name, getattr(_NoDigest, name))
    edgeai(pipe, folder, True)


def with_digest(pipe: Connection, folder: Path) -> None:
    """The SCP with the spool as it ships."""
    edgeai(pipe, folder, True)


def compare(folder: Path, instances: int, rounds: int) -> tuple[float, float]:
    """Median milliseconds of an instance with the digest and without, in turns."""
    file = folder / "instance.dcm"
    write_instance(file, 3000, 2500)
    receivers = []
    for serve in (with_digest, without_digest):
        (own := folder / serve.__name__).mkdir()
        receivers.append(Receiver(serve, own))
    for _ in range(rounds):
        for receiver in receivers:
            receiver.measure(file, instances)
    ours, plain = (receiver.close() for receiver in receivers)
    return ours, plain


def _over(link: str) -> None:
    """This very program again, where loopback is as fast as the link. Does not return."""
    shape = f"ip link set lo up && tc qdisc add dev lo root tbf rate {link} burst 256k latency 100ms"
    again = [sys.executable, "-m", "benchmarks.digest", *sys.argv[1:], "--shaped"]
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", f'{shape} && exec "$@"', "sh", *again])


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", help="rate of the link, as tc writes it: 1gbit; by default plain loopback")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--shaped", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if shutil.which("storescu") is None:
        raise SystemExit("storescu is not installed; apt-get install dcmtk")
    if options.link and not options.shaped:
        _over(options.link)
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = compare(Path(folder), 8, options.rounds)
    print(
        f"15 MB over {options.link or 'loopback'}: {ours:.2f} ms with the digest, {plain:.2f} ms without:"
        f" {ours / plain:.3f}"
    )


if __name__ == "__main__":
    main()
