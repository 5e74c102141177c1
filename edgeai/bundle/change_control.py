"""``pccp.json``: what a later release of a model may change without asking, as its makers decided beforehand.

A predetermined change control plan, as regulators ask for it where a model is to be renewed. It is a file of the
bundle, so that it is signed with it, and it is the bundle that *runs* whose plan counts: a release cannot widen what
it itself may do. What no plan can let through stands in ``changes``.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, TypeAlias

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.parts import Record, Text, Word
from edgeai.bundle.strict_json import read_object

CHANGE_CONTROL_NAME: Final = "pccp.json"
MAX_CHANGE_CONTROL_BYTES: Final = 1024 * 1024
_SCHEMA: Final = 1

Free: TypeAlias = Literal["weights", "recipe"]
"""``weights``: the contents of artifacts and golden cases. ``recipe``: which artifacts there are, by format and
precision, their options, and how far each may be from the golden cases."""


class Range(Record, frozen=True, kw_only=True):
    """From ``least`` to ``most``, both included."""

    least: float
    most: float

    def holds(self, value: object) -> bool:
        """Whether it is a number within."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.least <= value <= self.most


class ChangeControl(Record, frozen=True, kw_only=True):
    """What may change without asking.

    ``bounds`` are of numbers among the task's options, by path: ``threshold``, ``labels.*.threshold``, where ``*`` is
    any one key or place of a list. A threshold or a calibration may move within. ``says`` is for people.
    """

    schema: int = _SCHEMA
    free: tuple[Free, ...] = ()
    bounds: dict[Word, Range] = msgspec.field(default_factory=dict)
    says: Text | None = None


def encode_change_control(control: ChangeControl) -> bytes:
    """As it lies in the bundle: keys sorted, a line each."""
    return msgspec.json.format(msgspec.json.encode(control, order="sorted"), indent=1) + b"\n"


def decode_change_control(data: bytes) -> ChangeControl:
    """Read it; nothing is guessed, since what it does not forbid in so many words would be let through.

    Raises:
        BundleRejected: ``bundle.bad-change-control``.
    """
    try:
        body = read_object(data)
        if body.get("schema") != _SCHEMA:
            raise ValueError(f"it has schema {body.get('schema')!r}, and schema {_SCHEMA} is read")
        control: ChangeControl = msgspec.json.decode(data, type=ChangeControl, strict=True)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _bad(str(error)) from error
    for path, bound in control.bounds.items():
        if not (math.isfinite(bound.least) and math.isfinite(bound.most) and bound.least <= bound.most):
            raise _bad(f"the bounds of {path} hold nothing")
    return control


def change_control_schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12: ``edgeai/schemas/pccp-1.json`` is what ``edgeai.bundle.schema pccp`` prints."""
    from edgeai.bundle.schema import portable

    body = msgspec.json.schema(ChangeControl)
    root = body["$defs"].pop("ChangeControl")
    root["properties"]["schema"] = {"const": _SCHEMA}
    root["required"] = ["schema", *root.get("required", ())]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:pccp:{_SCHEMA}",
        **portable({**root, "title": "edgeai predetermined change control", "$defs": body["$defs"]}),
    }


def _bad(why: str) -> BundleRejected:
    return BundleRejected(
        f"what the bundle that runs says of later releases ({CHANGE_CONTROL_NAME}) cannot be read: {why}",
        code="bundle.bad-change-control",
        remedy="have the new release approved by a key of trust.approvers, and its plan repaired",
    )
