"""Processes with the carts, and how they are driven: they live up to a moment, and say what that took."""

from __future__ import annotations

import gc
import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks.thousand.cart import SimulatedCart
from benchmarks.thousand.clock import Clock, go_by
from benchmarks.thousand.kinds import kind_of
from benchmarks.thousand.profiles import Fleet

MODULES: Final = ("edgeai.roles.in_slots", "edgeai.health.status")


@dataclass(slots=True)
class Told:
    """Of a crowd after its end: figures added up, and by cart its kind and the release that runs.

    ``messages``, ``message_bytes``: by kind (``result``, ``status``, ``event``). ``cpu_s``: of a processor;
    ``parts_s``: the parts of it, by what was done.
    """

    cpu_s: float = 0.0
    parts_s: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    message_bytes: Counter[str] = field(default_factory=Counter)
    fetched_bytes: int = 0
    looks: int = 0
    images: int = 0
    carts: dict[str, tuple[str, int]] = field(default_factory=dict)
    codes: set[str] = field(default_factory=set)

    def add(self, other: Told) -> None:
        """Those of another crowd."""
        self.cpu_s += other.cpu_s
        for name in ("parts_s", "messages", "message_bytes", "carts", "codes"):
            getattr(self, name).update(getattr(other, name))
        for name in ("fetched_bytes", "looks", "images"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Crowds:
    """All carts of a run, shared out among processes, until it is left.

    Args:
        fleet: of which they are.
        names: of the carts; what is wrong with each falls by its lot.
        processes: how many.
        now: seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, names: Sequence[str], processes: int, now: float) -> None:
        every = [(name, kind_of(name, fleet.share, fleet.silent, fleet.seed)) for name in names]
        self._crowds = [Crowd(fleet, every[number::processes], now) for number in range(processes)]

    def __enter__(self) -> Crowds:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        for crowd in self._crowds:
            crowd.kill()

    def live_until(self, until: float) -> None:
        """All of them up to a moment.

        Raises:
            RuntimeError: a cart broke.
        """
        for crowd in self._crowds:
            crowd.begin(until)
        self._wait()

    def end(self) -> Told:
        """What it all took."""
        total = Told()
        for crowd in self._crowds:
            total.add(crowd.end())
        return total

    def _wait(self) -> None:
        for crowd in self._crowds:
            crowd.wait()


class Crowd:
    """Carts in a process of their own.

    Args:
        fleet: of which they are.
        carts: name -> kind.
        now: seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, carts: Sequence[tuple[str, str]], now: float) -> None:
        self._pipe, there = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_live, args=(there, fleet, carts, now), daemon=True)
        self._process.start()
        there.close()

    def begin(self, until: float) -> None:
        """Live up to a moment; ``wait`` for it."""
        self._pipe.send(until)

    def wait(self) -> None:
        """Until it is there.

        Raises:
            RuntimeError: a cart broke; with its words.
        """
        answer = self._pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)

    def end(self) -> Told:
        """What it all took; the process ends."""
        self._pipe.send(None)
        told = self._pipe.recv()
        self._process.join()
        if isinstance(told, str):
            raise RuntimeError(told)
        return told

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


def _live(pipe: Connection, fleet: Fleet, carts: Sequence[tuple[str, str]], now: float) -> None:
    try:
        pipe.send(_lived(pipe, fleet, carts, now))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


def _lived(pipe: Connection, fleet: Fleet, names: Sequence[tuple[str, str]], now: float) -> Told:
    clock = Clock(now)
    go_by(clock, MODULES)
    _with_a_fake_engine()
    carts = [SimulatedCart(fleet, name, kind, clock) for name, kind in names]
    for cart in carts:
        cart.wait_for_answers()
        cart.count_from_here()
    gc.freeze()
    before = time.process_time()
    pipe.send(None)
    while (until := pipe.recv()) is not None:
        for cart in carts:
            cart.live_until(until)
        for cart in carts:
            cart.wait_for_answers()
        pipe.send(None)
    told = Told(cpu_s=time.process_time() - before)
    for cart in carts:
        told.parts_s.update(cart.parts_s)
        told.messages.update(cart.messages)
        told.message_bytes.update(cart.message_bytes)
        told.fetched_bytes += cart.fetched_bytes
        told.looks += cart.looks
        told.images += cart.images
        told.codes |= cart.codes
        told.carts[cart.name] = cart.kind, cart.release
        cart.close()
    return told


def _with_a_fake_engine() -> None:
    """What would be asked of engines, in a process of its own on a real cart, is known here."""
    from edgeai_update import updating

    module: Any = updating
    module.needed = lambda config, deployment, manifest: (("fake-fp32",), ())
