"""A session's stream, held to its contract: for the frames of one instance; and how many threads feed one."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeai.api.errors import InferenceFailed, TensorMismatch
from edgeai.api.tensors import check_tensors
from edgeai.hosting.faults import Feed
from edgeai.model.golden import blank, load_inputs

if TYPE_CHECKING:
    from edgeai.api.imaging import Frame
    from edgeai.api.tensors import Array, Tensors, TensorSpec
    from edgeai.dicom.header import Header
    from edgeai.model.progress import Run
    from edgeai.model.results import Stopwatch
    from edgeai.model.running import Model

_MOST_DECODERS: Final = 4


@contextmanager
def ended(answers: Iterator[Tensors]) -> Iterator[Iterator[Tensors]]:
    """A session's stream that is over when the context is.

    Otherwise an engine might still be at work on what nobody waits for when the next instance comes. What it says
    when it is stopped half-way does not hide why it was.
    """
    close = getattr(answers, "close", None) or (lambda: None)  # a generator has it; any iterator may be a stream
    try:
        yield answers
    except BaseException:
        with suppress(Exception):
            close()
        raise
    close()


def lanes() -> int:
    """How many threads decode at a time: decoders let go of the interpreter, so each core can have one."""
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_DECODERS))


def decoders(header: Header, frames: int) -> int:
    """How many threads share the frames of an instance.

    A deflated data set can only be read from its beginning; there a second thread would do all of it again.
    """
    if header.pixels is None or header.pixels.syntax.deflated:
        return 1
    return max(1, min(lanes(), frames))


def check_outputs(specs: Sequence[TensorSpec], outputs: Tensors, *, what: str = "output") -> None:
    """Hold a backend to what the manifest declares, so that one that lies ends as a failure with a code.

    Raises:
        TensorMismatch: ``tensor.mismatch``, or ``tensor.not-finite`` for NaN and infinity.
    """
    check_tensors(specs, outputs, what=what)
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TensorMismatch(f"{what} {name!r} holds values that are not finite", code="tensor.not-finite")


def prove_streams(model: Model) -> None:
    """Ask the golden cases, or a blank plane where there is none, one by one and then as a stream of several.

    Raises:
        EdgeaiError: what went wrong.
    """
    asked = load_inputs(model.bundle) if model.bundle.manifest.golden else (blank(model.pipeline.input),)
    for inputs in asked:
        model.infer(inputs)
    with ended(model.stream([*asked, *asked])) as given:
        answered = sum(1 for outputs in given if model.checked(outputs))
    if answered != 2 * len(asked):
        raise miscounted("more" if answered > 2 * len(asked) else "fewer")


def miscounted(which: str) -> InferenceFailed:
    """A stream that gave "more" or "fewer" answers than it took inputs."""
    return InferenceFailed(f"the backend gave {which} outputs than it took inputs", code="backend.miscounted")


def answers(
    model: Model, ahead: Iterator[tuple[Array, Frame]], run: Run, idle: Stopwatch
) -> Generator[tuple[Tensors, Frame], None, None]:
    """What the engine makes of the frames, in order: all that can go wrong in here is its own doing.

    Except what its feed raises. Whatever an engine makes of that (an error of its own, an early end), it is the
    feed's error that is raised here, and it stays laid on the step that it comes from.
    """
    waiting: deque[Frame] = deque()
    fed = Feed(_feed(model, ahead, waiting, run, idle))
    try:
        with ended(model.stream(fed)) as given:
            for outputs in given:
                if not waiting:
                    raise miscounted("more")
                checked = model.checked(outputs)
                run.frames_run += 1
                yield checked, waiting.popleft()
        if fed.error is None and (waiting or next(fed, None) is not None):
            raise miscounted("fewer")
    except GeneratorExit:
        raise  # the findings failed, and nobody waits for more
    except BaseException as error:
        if fed.error is None:
            run.lay("run", error)
            raise
        raise fed.error from None
    if fed.error is not None:
        raise fed.error


def _feed(
    model: Model, ahead: Iterator[tuple[Array, Frame]], waiting: deque[Frame], run: Run, idle: Stopwatch
) -> Iterator[Tensors]:
    """What the engine takes; the frames of what it has taken and not yet answered are in ``waiting``."""
    name = model.pipeline.input.name
    while True:
        began = time.perf_counter()
        ready = next(ahead, None)
        idle.add("frames", time.perf_counter() - began)
        if ready is None:
            return
        with idle.stage("guard"):
            is_admitted = run.admits(ready[1])
        if not is_admitted:
            continue
        run.engine = model.engine
        waiting.append(ready[1])
        yield {name: ready[0]}
