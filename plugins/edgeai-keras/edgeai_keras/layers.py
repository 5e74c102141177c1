"""Every layer that a Keras description names, however deep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def layers_in(node: Any) -> Iterator[tuple[str, str]]:
    """(class name, layer name) of everything in a Keras configuration."""
    if isinstance(node, dict):
        kind, config = node.get("class_name"), node.get("config")
        if isinstance(kind, str):
            yield kind, str(config.get("name", "?")) if isinstance(config, dict) else "?"
        for value in node.values():
            yield from layers_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from layers_in(value)
