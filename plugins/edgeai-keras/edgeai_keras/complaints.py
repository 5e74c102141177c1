"""What Keras and TensorFlow complain of, as part of a sentence: the layer and why."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NODE: Final = re.compile(r"\{\{(?:function_)?node ([^}]*)\}\}")
_CALLING: Final = re.compile(r"Exception encountered when calling (?:layer )?(\S+?)(?:\.call\(\))?[. ]*(?:\n|$)")
_REST: Final = re.compile(
    r"\s*(?:Arguments received by|Call arguments received by|for '\{\{node|\[\[|\[Op:).*", re.DOTALL
)
_MOST: Final = 300


def words(error: BaseException, layers: Collection[str] = ()) -> str:
    """One line: ``layer concatenate_2: Dimension 1 in both shapes must be equal, but are 40 and 41.``

    Args:
        error: as they raised it.
        layers: names of the model's layers.
    """
    text = _COLOURS.sub("", str(error))
    name = _layer(text, layers)
    calling = _CALLING.search(text)
    if not name and calling:
        name = calling[1].strip("'\"")
    told = " ".join(_NODE.sub("", _REST.sub("", _CALLING.sub("", text))).split())[:_MOST]
    told = told or type(error).__name__
    return f"layer {name}: {told}" if name else told


def _layer(text: str, layers: Collection[str]) -> str:
    """The innermost layer in the path of an operation; a model that is called again numbers its layers."""
    for path in _NODE.findall(text):
        for part in reversed(path.split("/")):
            for candidate in (part, re.sub(r"_\d+$", "", part)):
                if candidate in layers:
                    return candidate
    return ""
