"""Which distributions made an artifact: recorded when it is made, since whoever packs it may have others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

import msgspec

from edgeai_workbench.libraries import needed

UNKNOWN = "unknown"
_MAX_LICENCE = 100


class Tool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One distribution, as its own metadata has it; ``licence`` is an SPDX expression, or words where it has none."""

    version: str
    licence: str


def tools_of(roots: Iterable[str], *, extras: Iterable[str] = ("build",)) -> dict[str, Tool]:
    """These distributions and all that they need here, by name: what an import of them could reach.

    Args:
        roots: names of installed distributions; one that is not installed is left out.
        extras: of the roots, whose requirements count too.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    tools: dict[str, Tool] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(root, tuple(extras)) for root in roots]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        key = (_normal(name), tuple(sorted(wanted)))
        if key in seen:
            continue
        seen.add(key)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        tools[key[0]] = Tool(version=installed.version, licence=licence_of(installed))
        waiting += _required(installed, wanted)
    return dict(sorted(tools.items()))


def licence_of(installed: Distribution) -> str:
    """PEP 639's expression, else the licences among the classifiers, else the old field where it is short."""
    metadata: Any = installed.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classified = [
        str(line).rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if str(line).startswith("License :: ") and not str(line).endswith(":: OSI Approved")
    ]
    if classified:
        return " AND ".join(sorted(classified)) if len(classified) > 1 else classified[0]
    words = str(metadata.get("License") or "").strip()
    return words if words and len(words) <= _MAX_LICENCE and "\n" not in words else UNKNOWN


def _required(installed: Distribution, extras: tuple[str, ...]) -> Iterable[tuple[str, tuple[str, ...]]]:
    requirements = needed("packaging.requirements")
    for line in installed.requires or ():
        requirement = requirements.Requirement(line)
        environments = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(env) for env in environments):
            yield requirement.name, tuple(sorted(requirement.extras))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
