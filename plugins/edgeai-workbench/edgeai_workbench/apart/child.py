"""The child: ``python -m edgeai_workbench.apart.child PLUGIN BACKEND``, asked on standard input, answering on output.

It was confined before this module was imported. Descriptor 1 is kept for the answers; what an engine prints goes to
standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from edgeai import request_json
from edgeai.api import BackendSpec, Described, EdgeaiError, Session
from edgeai.plugins import Registry
from edgeai_workbench.apart import wire


class Served:
    """One backend, and the one session that is open."""

    def __init__(self, backend: BackendSpec) -> None:
        self._backend = backend
        self._session: Session | None = None

    def answer(self, asked: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Facts and arrays."""
        what = asked["do"]
        if what == "probe":
            return {"devices": [device.name for device in self._backend.probe()]}, {}
        if what in ("engine", "explain"):
            return {what: getattr(self._backend, what)()}, {}
        if what == "describe":
            assert self._backend.describe is not None
            return _described(self._backend.describe(Path(asked["artifact"]))), {}
        if what == "open":
            self._session = self._backend.open(request_json.request_of(asked["request"]))
            return {}, {}
        assert self._session is not None, "nothing is open"
        if what == "run":
            return {}, dict(self._session.run(arrays))
        self._session.close()
        self._session = None
        return {}, {}


def _described(described: Described) -> dict[str, Any]:
    return {
        "inputs": request_json.spec_dicts(described.inputs),
        "outputs": request_json.spec_dicts(described.outputs),
        "scales": {name: list(pair) for name, pair in described.scales.items()},
        "ranges": {name: pair and list(pair) for name, pair in described.ranges.items()},
        "activations": dict(described.activations),
        "notes": list(described.notes),
    }


def serve(backend: BackendSpec, asking: BinaryIO, answering: BinaryIO) -> None:
    """Until nobody asks any more."""
    served = Served(backend)
    while True:
        try:
            asked, arrays = wire.read(asking)
        except EOFError:
            return
        try:
            facts, tensors = served.answer(asked, arrays)
        except EdgeaiError as error:
            refusal = {"kind": type(error).__name__, "message": str(error), "code": error.code, "remedy": error.remedy}
            facts, tensors = {"error": refusal}, {}
        wire.write(answering, facts, tensors)


def main(plugin: str, name: str) -> int:
    """Load the plugin and serve its backend."""
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    registry = Registry.of([plugin])
    backend = registry.backends.get(name)
    if backend is None:
        print("; ".join(str(fault) for fault in registry.faults.values()) or f"no backend {name}", file=sys.stderr)
        return wire.NOT_STARTED
    serve(backend, sys.stdin.buffer, answering)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
