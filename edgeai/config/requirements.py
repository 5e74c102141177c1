"""``deployments.requires``: what another deployment must have said of the same image before this one is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator

from edgeai.config.words import nearest

if TYPE_CHECKING:
    from edgeai.config.tables import Deployment
    from edgeai.config.words import Where

_FORM: Final = re.compile(
    r"(?P<finding>[a-z][a-z-]*:[^<>=\s](?:[^<>=]*[^<>=\s])?)(?:\s*>=\s*(?P<at_least>0(?:\.\d+)?|1(?:\.0+)?))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One of a deployment's.

    Attributes:
        deployment: who is asked first.
        finding: what it must state: ``kind:label``, as its results have them.
        at_least: with so much probability; None where stating it is enough.
    """

    deployment: str
    finding: str
    at_least: float | None = None

    def __str__(self) -> str:
        """``class:frontal >= 0.9 of view``."""
        bound = "" if self.at_least is None else f" >= {self.at_least:g}"
        return f"{self.finding}{bound} of {self.deployment}"


def _checked(text: str) -> str:
    if _FORM.fullmatch(text) is None:
        raise ValueError('give kind:label, as in "class:frontal", and where it is wished " >= 0.9" behind it')
    return text


Wanted = Annotated[str, AfterValidator(_checked)]
"""``class:frontal``, or ``class:frontal >= 0.9``."""


def requirements_of(requires: Mapping[str, str]) -> tuple[Requirement, ...]:
    """What a deployment's table says; each value is a ``Wanted``."""
    made = []
    for name, text in requires.items():
        match = _FORM.fullmatch(text)
        assert match is not None
        bound = match["at_least"]
        made.append(
            Requirement(deployment=name, finding=match["finding"], at_least=None if bound is None else float(bound))
        )
    return tuple(made)


def asked_of(deployment: str, deployments: Sequence[Deployment]) -> frozenset[str]:
    """The findings, ``kind:label``, that others require of a deployment."""
    return frozenset(
        each.finding for other in deployments for each in other.requirements if each.deployment == deployment
    )


def mistaken_requirements(deployments: Sequence[Deployment]) -> Iterator[tuple[Where, str]]:
    """Requirements of nobody, and those by which a deployment would wait for itself."""
    names = [item.name for item in deployments]
    needs = {item.name: tuple(name for name in item.requires if name in names) for item in deployments}
    for index, item in enumerate(deployments):
        where: Where = ("deployments", index, "requires")
        for name in item.requires:
            if name not in names:
                yield (*where, name), f'there is no deployment "{name}"{nearest(name, names)}'
        way = _way_back(item.name, needs)
        if way:
            chain = ", which requires ".join(f'"{name}"' for name in way[1:])
            yield where, f'"{way[0]}" requires {chain}: it would wait for itself, and never run'


def _way_back(start: str, needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The shortest way from a deployment to itself over what each requires; empty where there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    for way in ways:
        for name in needs[way[-1]]:
            if name == start:
                return (*way, name)
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()
