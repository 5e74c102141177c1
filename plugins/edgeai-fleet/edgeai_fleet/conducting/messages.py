"""What a conductor's retained messages must be for whoever reads them (``edgeai/schemas/conduct-1.json``).

A broker's words are anybody's: a message of another form is passed over, and the others are shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edgeai_fleet.conducting.judging import Word

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Phase(msgspec.Struct):
    share: float
    carts: _Count
    succeeded: _Count
    failed: _Count
    silent: _Count
    undecided: _Count
    waiting: _Count


class _Reason(msgspec.Struct):
    code: str
    why: str
    carts: _Count
    some: list[str]
    cases: dict[str, int] = {}


class _Unseen(msgspec.Struct):
    carts: _Count
    some: list[str]


class _Summary(msgspec.Struct):
    schema: Literal[1]
    rollout: str
    at: str
    state: str
    open: Annotated[int, msgspec.Meta(ge=1)]
    model: str
    release: int
    digest: str
    step: str
    why: str
    signs: bool
    trouble: str
    phases: list[_Phase]
    reasons: list[_Reason]
    select: dict[str, Any] = {}
    replaces: list[str] = []
    unseen: _Unseen | None = None


class _Cart(msgspec.Struct):
    device: str
    phase: int
    word: Word
    stage: str
    code: str
    why: str
    since: str


class _Site(msgspec.Struct):
    schema: Literal[1]
    rollout: str
    site: str
    carts: list[_Cart]
    left_out: _Count


def is_summary(message: Any) -> bool:
    """Whether it is how a rollout stands."""
    return _is(message, _Summary)


def is_of_a_site(message: Any) -> bool:
    """Whether it is what each cart of a site has shown."""
    return _is(message, _Site)


def _is(message: Any, form: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(message, form)
    except msgspec.ValidationError:
        return False
    return True
