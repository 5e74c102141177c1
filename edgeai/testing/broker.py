"""A real Mosquitto as a child process, for the demo, the system tests and the benchmarks."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 60.0


_PORTS = range(20_000, 32_000)
"""Below the range out of which Linux gives ports to outgoing connections (ip_local_port_range): a port from there could
be taken by anybody's connection between the asking and the listening."""


_BLOCK = 500
"""So many of them belong to one process at a time: what it was given and does not listen on yet, no other is given."""
_own: tuple[int, socket.socket | None, Iterator[int]] = (0, None, iter(()))
"""Of which process, what shows that its block is taken, and its ports, round and round."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now, and that no connection and no other process will take."""
    while True:
        port = next(_ports())
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _ports() -> Iterator[int]:
    """This process's block, each port as late again as can be. A name in Linux's abstract namespace shows whose it is:
    it goes with the process, however that ends.
    """
    global _own
    if _own[0] != os.getpid():
        starts = list(range(_PORTS.start, _PORTS.stop, _BLOCK))
        random.shuffle(starts)  # so that processes that come and go use all of them
        for start in starts:
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind(f"\0edgeai-ports-{start}")
            except OSError:
                claim.close()
                continue
            atexit.register(claim.close)
            _own = (os.getpid(), claim, itertools.cycle(range(start, start + _BLOCK)))
            break
        else:  # more processes than blocks
            _own = (os.getpid(), None, itertools.cycle(random.sample(_PORTS, len(_PORTS))))
    return _own[2]


def wait_for_port(port: int, timeout_s: float, *, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on ``port`` within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, port)) == 0:
                return True
        time.sleep(0.02)
    return False


def find_mosquitto() -> str | None:
    """Path of the broker's program; Debian puts it where a user's PATH may not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """A broker on a loopback port that keeps its sessions and retained messages over restarts.

    Args:
        folder: where its configuration, log and persistence go; must exist.
        port: TCP port, a free one when 0.
        extra: further lines of ``mosquitto.conf``; replaces the listener lines when it has its own.
    """

    def __init__(self, folder: Path, *, port: int = 0, extra: str = "") -> None:
        self.port = port or free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        own_listener = any(line.startswith("listener ") for line in extra.splitlines())
        listener = "" if own_listener else f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        persistence = f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n"
        limits = "max_queued_messages 0\nmax_inflight_messages 0\n"
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(f"{listener}user root\n{persistence}{limits}{extra}\n", encoding="utf-8")

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return (self._folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Of its process, once it is started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Mosquitto:
        """Start it and wait until it accepts connections.

        Raises:
            RuntimeError: it is not installed or does not come up; with its own log.
        """
        program = find_mosquitto()
        if program is None:
            raise RuntimeError("mosquitto is not installed")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(self._conf)], stdout=log, stderr=log)
        if not wait_for_port(self.port, _START_TIMEOUT_S):
            self.stop()
            raise RuntimeError(f"mosquitto did not come up on port {self.port}:\n{self.log}")
        return self

    def stop(self) -> None:
        """SIGTERM, so that it saves its persistence. Twice is fine."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: connections drop without a word."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=_END_TIMEOUT_S)
            self._process = None

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
