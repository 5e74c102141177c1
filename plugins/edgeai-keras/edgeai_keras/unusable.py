"""Why a Keras file cannot be used, in a sentence that names the layer; Keras's own words are a page long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import ConversionFailed

_OWN: Final = "keras"
_MOST: Final = 600


def not_loaded(path: Path, keras: Any, config: Any, error: Exception) -> ConversionFailed:
    """What Keras raised at a file whose description is ``config``."""
    unknown = next((pair for pair in _foreign(config) if _is_unknown(keras, pair[0])), None)
    if unknown is not None:
        kind, layer = unknown
        where = f"layer {layer!r} is" if layer else "it has"
        return ConversionFailed(
            f"{path.name}: {where} a {kind!r}, which is none of Keras's own and whose code the file does not hold",
            code="convert.model-unreadable",
            remedy="save it with model.save('name.keras') from built-in layers and functions alone",
        )
    words = " ".join(str(error).split())
    words = words if len(words) <= _MOST else f"{words[:_MOST]} ..."
    return ConversionFailed(
        f"{path.name}: Keras {keras.__version__} cannot load it: {words}",
        code="convert.model-unreadable",
        remedy="save it with model.save('name.keras') from built-in layers alone",
    )


def refuse_not_a_number(path: Path, model: Any) -> None:
    """Refuse weights that training has driven to NaN: whatever is made of them answers nothing.

    Raises:
        ConversionFailed: ``convert.not-a-number``.
    """
    for weight in model.weights:
        if "float" in str(weight.dtype) and np.isnan(weight.numpy()).any():
            layer, _, name = str(weight.path).rpartition("/")
            raise ConversionFailed(
                f"{path.name}: layer {layer!r}: its {name} has values that are not a number (NaN)",
                code="convert.not-a-number",
                remedy="train it anew, with a lower learning rate and inputs that are finite; or take an earlier epoch",
            )


def never_built(name: str) -> str:
    """The words for a model that has layers and no tensors."""
    return f"{name}: the model was never built, so that nobody knows its tensors"


def _foreign(node: Any, layer: str = "") -> Iterator[tuple[str, str]]:
    """(what it is registered as or called, layer that it is or belongs to) of all that is not Keras's own."""
    if isinstance(node, list):
        for value in node:
            yield from _foreign(value, layer)
    elif isinstance(node, dict):
        config = node.get("config")
        own = str(config.get("name", "")) if isinstance(config, dict) else ""
        layer = own or layer
        kind, registered, module = node.get("class_name"), node.get("registered_name"), str(node.get("module"))
        if isinstance(kind, str) and registered and module.partition(".")[0] != _OWN:
            yield str(config if isinstance(config, str) else registered), layer
        for value in node.values():
            yield from _foreign(value, layer)


def _is_unknown(keras: Any, kind: str) -> bool:
    return keras.saving.get_registered_object(kind) is None
