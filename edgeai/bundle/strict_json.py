"""JSON in which a key appears once: two readers must not be able to see two documents."""

from __future__ import annotations

import json
from typing import Any


def read_object(data: bytes) -> dict[str, Any]:
    """One JSON object, of which every key at every depth is unique.

    Raises:
        ValueError: with a sentence on what is wrong.
    """
    try:
        body = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ValueError(f"it is a JSON {type(body).__name__}, not an object")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"key {twice[0]!r} appears twice")
    return body
