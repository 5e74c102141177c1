"""What the digest of each arrival's content costs: a row of the table; ``python -m benchmarks.digest [--link 1gbit]``.

The same SCP with the real spool, with SHA-256 of the content and without, takes turns at ``storescu`` of 15 MB. On
loopback, sender and receiver want the same processors as the hash. Over ``--link`` the loopback of a network namespace
of its own passes no more than that rate, as a network does between two machines (``unshare`` and ``tc``, as root).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.receive import Receiver, edgeai, write_instance
from benchmarks.timing import Row, summary
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


LINK = "1gbit"
"""A cart's network, over which the bound is held: on loopback the sender takes the hash's processors (ADR 0041)."""


def compare(folder: Path, instances: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of an instance with the digest and without, in turns."""
    file = folder / "instance.dcm"
    write_instance(file, 3000, 2500)
    receivers = []
    for serve in (with_digest, without_digest):
        (own := folder / serve.__name__).mkdir()
        receivers.append(Receiver(serve, own))
    for _ in range(rounds):
        for receiver in receivers:
            receiver.measure(file, instances)
    for receiver in receivers:
        receiver.close()
    return receivers[0].figures, receivers[1].figures


def digest(_folder: Path, _bundle: Path, rounds: int) -> Iterator[Row]:
    """A row: the SCP with its digest against the SCP without, over the link; nothing where a link cannot be made."""
    case = f"C-STORE 15 MB over {LINK}, with the digest"
    try:
        done = subprocess.run(_over(LINK, ["--rounds", str(rounds), "--json"]), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield Row(case=case, ours="", limit="", notes=("not measured: it takes root, unshare, tc and storescu",))
        return
    both = summary(*json.loads(done.stdout))
    yield Row(
        case=case,
        ours=f"{both.ours_ms:.1f} ms",
        limit=f"{both.limit_ms:.1f} ms",
        ratio=both.ratio,
        spread=both.spread,
        bound=1.03,
    )


def _over(link: str, options: list[str]) -> list[str]:
    """The command that is this very program, where loopback is as fast as the link."""
    shape = f"ip link set lo up && tc qdisc add dev lo root tbf rate {link} burst 256k latency 100ms"
    again = [sys.executable, "-m", "benchmarks.digest", *options, "--shaped", link]
    return ["unshare", "--net", "sh", "-c", f'{shape} && exec "$@"', "sh", *again]


def main() -> None:
    """Print one line, or the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", help="rate of the link, as tc writes it: 1gbit; by default plain loopback")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="each round's milliseconds, with and without")
    parser.add_argument("--shaped", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if shutil.which("storescu") is None:
        raise SystemExit("storescu is not installed; apt-get install dcmtk")
    if options.link:
        command = _over(options.link, ["--rounds", str(options.rounds), *(["--json"] if options.json else [])])
        os.execvp(command[0], command)
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = compare(Path(folder), 8, options.rounds)
    if options.json:
        print(json.dumps([ours, plain]))
        return
    both = summary(ours, plain)
    print(
        f"15 MB over {options.shaped or 'loopback'}: {both.ours_ms:.2f} ms with the digest, {both.limit_ms:.2f} ms"
        f" without: {both.ratio:.3f} ({both.spread[0]:.3f}-{both.spread[1]:.3f})"
    )


if __name__ == "__main__":
    main()
