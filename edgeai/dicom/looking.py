"""A look at every value of a large plane, shared out between two threads where there is a second core.

It takes as long as to fetch the plane from memory, and whoever waits for the one image that there is has the other
core idle meanwhile. Nobody waits for the second thread: each takes the next strip until there is none, and a second one
that comes too late finds nothing to do. Where each core has an image of its own, one thread looks (``among_others``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue
from typing import Final

from edgeai.api.tensors import Array

_LARGE: Final = 4 * 2**20
_STRIP: Final = 2**20
"""Bytes: a plane that is worth a second thread, and what one takes at a time."""
_this_thread: Final = threading.local()


@contextmanager
def among_others() -> Iterator[None]:
    """This thread is one of several that decode: the other cores have work, and a second thread would only disturb."""
    _this_thread.is_among_others = True
    try:
        yield
    finally:
        _this_thread.is_among_others = False


def within(values: Array, low: int | None, high: int) -> bool:
    """Whether all values are from ``low`` to ``high``; without ``low`` only that none is above."""
    is_shared = values.nbytes >= _LARGE and values.ndim > 1 and not getattr(_this_thread, "is_among_others", False)
    helper = _helper() if is_shared else None
    if helper is None:
        return _within(values, low, high)
    look = _Look(values, low, high)
    helper.put(look)
    look.along()
    look.turn.acquire()  # from whoever looks along, or before anybody can
    return look.is_within and not look.is_broken


class _Look:
    """Strips of a plane that are still to be looked at.

    Attributes:
        turn: held by the second thread while it looks along; whoever has it first decides whether it does.
        is_within: nothing else was seen.
        is_broken: the second thread gave up, and what it had taken was not looked at.
    """

    __slots__ = ("_bounds", "_rows", "_strips", "_values", "is_broken", "is_within", "turn")

    def __init__(self, values: Array, low: int | None, high: int) -> None:
        self._values, self._bounds = values, (low, high)
        self._rows = max(1, _STRIP * len(values) // values.nbytes)
        self._strips = iter(range(0, len(values), self._rows))
        self.turn = threading.Lock()
        self.is_within, self.is_broken = True, False

    def along(self) -> None:
        """Look at strips until none is left, or one tells."""
        for first in self._strips:
            if not self.is_within or not _within(self._values[first : first + self._rows], *self._bounds):
                self.is_within = False
                return


def _within(values: Array, low: int | None, high: int) -> bool:
    return bool(values.max() <= high and (low is None or values.min() >= low))


@cache
def _helper() -> SimpleQueue[_Look] | None:
    """What the second thread takes; ``None`` where there is one core, or the system refuses a thread."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    looks: SimpleQueue[_Look] = SimpleQueue()
    try:
        threading.Thread(target=_look_along, args=(looks,), name="edgeai-look", daemon=True).start()
    except RuntimeError:
        return None
    return looks


os.register_at_fork(after_in_child=_helper.cache_clear)  # a child has the queue, and not the thread


def _look_along(looks: SimpleQueue[_Look]) -> None:
    while True:
        look = looks.get()
        if look.turn.acquire(blocking=False):
            try:
                look.along()
            except BaseException:  # noqa: BLE001 - whoever asked finds out, and what it makes of it is its own
                look.is_broken = True
            look.turn.release()
        del look  # a plane is not kept while the next is waited for
