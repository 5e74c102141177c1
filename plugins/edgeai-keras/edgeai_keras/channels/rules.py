"""The rule of each layer, by its exact class: a subclass may do anything."""

from __future__ import annotations

from functools import cache
from typing import Any

from edgeai_keras.channels import layers, passing
from edgeai_keras.channels.atoms import Label
from edgeai_keras.channels.trace import Call, Rule


def rule_of(operation: Any) -> Rule:
    """The rule of a layer, or of an operation of ``keras.ops``."""
    kind = type(operation)
    if kind in _rules():
        return _rules()[kind]
    if kind.__module__.startswith("keras.src.ops."):
        return passing.operation_rules().get(kind.__name__, unknown)
    return unknown


def unknown(call: Call) -> Label | None:
    """A layer that nobody has a rule for: what it is given must stay, and so does what it gives."""
    if getattr(call.layer, "weights", ()):
        call.trace.uncounted.append(call.path)
    if any(value.label is not None for value in call.inputs):
        return call.refused("it has no rule for channels")
    return None


@cache
def _rules() -> dict[type, Rule]:
    return {**layers.rules(), **passing.rules()}
