"""Sessions of a backend that a test opens, and that are closed whatever becomes of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgeai.api import BackendSpec, OpenRequest, Session, TensorSpec


@contextmanager
def opening(backend: BackendSpec) -> Iterator[Callable[..., Session]]:
    """``open(artifact, inputs, outputs, **more)`` -> a session; all of them are closed at the end.

    ``more`` is by the names of ``OpenRequest``; without it, a session is on ``CPU`` with one thread. Opening raises
    what the backend raises.
    """
    with ExitStack() as stack:

        def opened(
            artifact: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], **more: Any
        ) -> Session:
            facts = {"device": "CPU", "threads": 1, **more}
            session = backend.open(OpenRequest(artifact=artifact, inputs=inputs, outputs=outputs, **facts))
            stack.callback(session.close)
            return session

        yield opened
