"""Requests to open an artifact and the tensors in them as JSON, for a child process that opens it instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeai.api import OpenRequest, TensorSpec


def request(asked: OpenRequest) -> dict[str, Any]:
    """A request as JSON."""
    return {
        "artifact": str(asked.artifact.absolute()),
        "device": asked.device,
        "inputs": spec_dicts(asked.inputs),
        "outputs": spec_dicts(asked.outputs),
        "threads": asked.threads,
        "options": dict(asked.options),
        "settings": dict(asked.settings),
    }


def request_of(body: dict[str, Any]) -> OpenRequest:
    """The request of such JSON."""
    return OpenRequest(
        artifact=Path(body["artifact"]),
        device=body["device"],
        inputs=specs(body["inputs"]),
        outputs=specs(body["outputs"]),
        threads=body["threads"],
        options=body["options"],
        settings=body["settings"],
    )


def spec_dicts(of: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Tensors as JSON."""
    return [{"name": one.name, "dtype": one.dtype, "shape": list(one.shape), "layout": one.layout} for one in of]


def specs(bodies: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """The tensors of such JSON.

    Raises:
        TensorMismatch: of a kind that no manifest has.
    """
    return tuple(
        TensorSpec(
            name=str(one["name"]),
            dtype=str(one["dtype"]),
            shape=tuple(None if extent is None else int(extent) for extent in one["shape"]),
            layout=str(one["layout"]),
        )
        for one in bodies
    )
