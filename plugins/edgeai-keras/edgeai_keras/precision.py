"""Models whose layers compute in half or double precision, read as float32: what every converter and engine takes.

``mixed_float16`` keeps its weights in float32 and computes in float16, which is for training on a GPU. TensorFlow Lite
has no kernels for that, and on a CPU it is slow; the same weights in float32 answer the same, rounded less.
"""

from __future__ import annotations

import copy
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edgeai_keras.bounds import CONFIG

_OTHERS: Final = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
_AS: Final = "float32"


def precision_note(config: Any) -> str:
    """What is said of a model that is read as float32; empty of one that is float32."""
    policies = sorted(set(_policies(config)))
    return f"its layers are {' and '.join(policies)}; built as float32 weights" if policies else ""


@contextmanager
def as_float32(path: Path, config: Any) -> Iterator[Path]:
    """A ``.keras`` file of the same weights whose layers are float32; the file itself where they are already."""
    if not any(True for _ in _policies(config)):
        yield path
        return
    changed = _changed(copy.deepcopy(config))
    with tempfile.TemporaryDirectory(prefix="edgeai-float32-") as folder:
        other = Path(folder) / path.name
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
            for member in source.infolist():
                data = json.dumps(changed).encode() if member.filename == CONFIG else source.read(member)
                target.writestr(member.filename, data)
        yield other


def _policies(node: Any) -> Iterator[str]:
    """Each precision other than float32 that a layer has."""
    if isinstance(node, dict):
        named = _policy(node.get("dtype"))
        if named in _OTHERS and node.get("class_name") != "__keras_tensor__" and "keras_history" not in node:
            yield named
        for value in node.values():
            yield from _policies(value)
    elif isinstance(node, list):
        for value in node:
            yield from _policies(value)


def _policy(dtype: Any) -> str:
    if isinstance(dtype, dict):
        config = dtype.get("config")
        return str(config.get("name")) if isinstance(config, dict) else ""
    return dtype if isinstance(dtype, str) else ""


def _changed(node: Any) -> Any:
    if isinstance(node, dict):
        dtype = node.get("dtype")
        if _policy(dtype) in _OTHERS:
            if isinstance(dtype, dict):
                dtype["config"]["name"] = _AS
            else:
                node["dtype"] = _AS
        for value in node.values():
            _changed(value)
    elif isinstance(node, list):
        for value in node:
            _changed(value)
    return node
