"""What a plugin's parts may be told: by a manifest's options, which are signed, or by a configuration's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Options: TypeAlias = Mapping[str, Any]
"""JSON values by name. Signed where they come from a manifest, plumbing where from a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """One option that a spec takes; ``help`` gives units, ``choices`` bounds strings."""

    name: str
    help: str
    default: Any = None
    required: bool = False
    choices: tuple[Any, ...] = ()
