"""What a long command is doing: one line on a terminal's stderr, plain lines with times in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeai.cli.native import kept_aside


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Gives a function that is told each step, one short sentence; a pipe sees at most a line a second.

    What native libraries print meanwhile is kept aside.
    """
    with kept_aside(), _line() as told:
        yield told


@contextmanager
def _line() -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda step: status.update(Text(step))
        return
    begin = time.monotonic()
    last = [begin - 1.0]

    def line(step: str) -> None:
        now = time.monotonic()
        if now - last[0] >= 1.0:
            last[0] = now
            console.print(f"{now - begin:7.1f} s  {step}", highlight=False, markup=False, soft_wrap=True)

    yield line
