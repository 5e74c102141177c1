"""Writing ``.keras`` files: the same model gives the same bytes, and nothing of its training goes with it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TIME = (1980, 1, 1, 0, 0, 0)
_SAVED = "1980-01-01@00:00:00"


def save(model: Any, path: Path) -> None:
    """Write ``model`` without optimizer state, in bytes that depend on nothing but the model and Keras's version.

    Keras itself writes the time into the archive twice, and addresses of Python objects into ``config.json``.
    """
    packed = io.BytesIO()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.saving.keras")
    try:
        with _untrained(model):
            model.save(temporary)
        with zipfile.ZipFile(temporary) as source, zipfile.ZipFile(packed, "w") as target:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, _TIME)
                entry.external_attr = 0o644 << 16
                target.writestr(entry, _settled(name, source.read(name)))
    finally:
        temporary.unlink(missing_ok=True)
    path.write_bytes(packed.getvalue())


class _untrained:  # noqa: N801  a context manager reads as a verb
    """For a while, the model has no optimizer, no loss and no metrics."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._kept = (self._model.compiled, getattr(self._model, "optimizer", None))
        self._model.compiled, self._model.optimizer = False, None

    def __exit__(self, *_: object) -> None:
        self._model.compiled, self._model.optimizer = self._kept


def _settled(name: str, data: bytes) -> bytes:
    if name == "metadata.json":
        return json.dumps({**json.loads(data), "date_saved": _SAVED}, sort_keys=True).encode()
    if name == "config.json":
        return json.dumps(_renumbered(json.loads(data))).encode()
    return data


def _renumbered(config: Any) -> Any:
    """Shared objects by number in order of appearance, in place of their addresses; only of layers.

    Of what is not a layer (a dtype policy, an initialiser), sharing means nothing and depends on chance.
    """
    numbers: dict[int, int] = {}
    for node in _objects(config):
        address = node.pop("shared_object_id", None)
        if address is not None and _is_layer(node):
            node["shared_object_id"] = numbers.setdefault(address, len(numbers) + 1)
    return config


def _is_layer(node: dict[str, Any]) -> bool:
    module = str(node.get("module") or "")
    return module.startswith(("keras.layers", "keras.src.models", "keras.models")) or bool(node.get("registered_name"))


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)
