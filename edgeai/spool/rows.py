"""Values of rows that anything may have happened to: what cannot be read is None, and never an exception at a start."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeai.api.instances import InstanceRef


def json_object(text: object) -> dict[str, Any] | None:
    """A JSON object."""
    try:
        body = json.loads(text) if isinstance(text, str | bytes) else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def instance_of(uid: object, ref: object) -> InstanceRef | None:
    """The instance as it was admitted under ``uid``; keys of a later version are ignored."""
    from edgeai.api.instances import InstanceRef

    body = json_object(ref) or {}
    try:
        instance = InstanceRef(**{name: value for name, value in body.items() if name in _known()})
    except (TypeError, ValueError):
        return None
    return instance if instance.sop_instance_uid == uid else None


def nameless(uid: object) -> InstanceRef:
    """All that is left of an instance whose row cannot be read."""
    from edgeai.api.instances import InstanceRef

    return InstanceRef(sop_class_uid="", sop_instance_uid=uid if isinstance(uid, str) else "")


def whole(value: object, default: int) -> int:
    """A whole number that is not less than ``default``, or that."""
    return value if isinstance(value, int) and value >= default else default


def seconds(value: object, default: float) -> float:
    """A number, or ``default``."""
    return float(value) if isinstance(value, int | float) else default


@cache
def _known() -> frozenset[str]:
    from edgeai.api.instances import InstanceRef

    return frozenset(field.name for field in fields(InstanceRef))
