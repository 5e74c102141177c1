"""Work ahead of a consumer: an iterator that runs on its own thread, a bounded number of items early."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """The last thing in the queue: the items are over, and why if they broke off."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterate over ``items`` while a thread makes up to ``depth`` of them in advance.

    What ``items`` raises is raised here, after everything that came before it. Leaving the context stops
    the thread at its next item and waits for it, so nothing of ``items`` runs on afterwards.
    """

    def __init__(self, items: Iterable[T], *, depth: int) -> None:
        self._items = items
        # Two of C's queues, places and items: one of Python's with a bound takes ten times as long an item.
        self._ready: SimpleQueue[T | _End] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(depth):
            self._places.put(None)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._make, name="edgeai-ahead", daemon=True)

    def _make(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._places.get()
                self._ready.put(item)
                if self._stopped:
                    break
            close = getattr(self._items, "close", None)  # a generator that was stopped half-way lets go here
            if close is not None:
                close()
        except BaseException as caught:  # noqa: BLE001 - it is raised again where the items are consumed
            error = caught
        self._ready.put(_End(error))

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        item = self._ready.get()
        if not isinstance(item, _End):
            self._places.put(None)
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped = True
        self._places.put(None)  # whatever interrupted the consumer, perhaps between an item and its place
        while not self._ended:
            self._ended = isinstance(self._ready.get(), _End)
            self._places.put(None)
        self._thread.join()


@contextmanager
def in_turn(sources: Sequence[Iterable[T]], *, depth: int) -> Iterator[Iterator[T]]:
    """One item of each source in turn, each source on its own thread, ``depth`` items ahead in all.

    Sources that hold every n-th of some items so give all of them in order. It ends where the first source
    does whose turn it is.
    """
    each = max(1, depth // max(1, len(sources)))
    with ExitStack() as stack:
        running = [stack.enter_context(Ahead(source, depth=each)) for source in sources]
        yield _turns(running)


def _turns(running: Sequence[Ahead[T]]) -> Iterator[T]:
    while True:
        for source in running:
            try:
                item = next(source)
            except StopIteration:
                return
            yield item
