"""What a device knows of the two slots of a deployment: the record, as it is kept and read. No file is touched here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.parts import Count, Record, Slug, Text, Word
from edgeai.bundle.releases import Numbered
from edgeai.bundle.strict_json import read_object
from edgeai.windows import PATTERN

SCHEMA: Final = 1
MAX_BYTES: Final = 4 << 20
MAX_HISTORY: Final = 100
MAX_WHY: Final = 500
MAX_SPENT: Final = 100
MAX_GIVEN_UP: Final = 20
MAX_LABELS: Final = 1000

Name: TypeAlias = Literal["a", "b"]
Stage: TypeAlias = Literal["pending", "installed", "good", "bad"]
"""``pending``: being written, nothing in it counts. ``installed``: there, and every byte was read back. ``good``: it
answered its golden cases here, or ran here before. ``bad``: it failed here."""
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]

OTHER: Final[Mapping[Name, Name]] = MappingProxyType({"a": "b", "b": "a"})


class SlotsError(EdgeaiError):
    """The slots of a deployment cannot be read or written, or what is asked of them does not fit what they hold."""

    default_code: ClassVar[str] = "slots.error"


Window: TypeAlias = Annotated[str, msgspec.Meta(pattern=PATTERN)]
Rate: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class Asked(Record, frozen=True, kw_only=True):
    """What whoever brought a bundle asks of it beside what the profile does; the stricter of the two counts.

    ``agreement``: the rate at which it must be shown to agree with what runs before it is switched to; 0 for no
    shadow. ``images``: within so many; 0 for as many as the profile says. ``windows``: local times in which it may be
    switched to (``edgeai.windows``); none for any.
    """

    agreement: Rate = 0.0
    images: Count = 0
    windows: tuple[Window, ...] = ()


class Slot(Record, frozen=True, kw_only=True):
    """One of the two: which bundle, and how far it came. ``stood``: it was active at some time, and may run again."""

    digest: Digest
    model: Slug
    release: Count
    stage: Stage
    since: Word
    stood: bool = False
    asked: Asked = Asked()

    @property
    def number(self) -> Numbered:
        """The bundle, as the release floor knows it."""
        return Numbered(name=self.model, release=self.release, digest=self.digest)


Counts: TypeAlias = Annotated[dict[str, Count], msgspec.Meta(max_length=MAX_LABELS)]


class Probation(Record, frozen=True, kw_only=True):
    """What the active slot has shown since it was activated; it is over with ``needed`` completed results.

    ``spent_ms``: what its last images took. ``before_ms``: what an image took before, by the median; 0 where nobody
    knows. ``before_withheld``: on which part of the images no statement was made before; 1 where nobody knows.
    ``deaths``, ``faults``: what the spool had counted of the deployment when it was activated. ``seen``, ``stated``: of
    how many series an image was completed, and on how many of these each label was stated; the same of before.
    """

    since: Word
    needed: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    completed: Count = 0
    failed: Count = 0
    withheld: Count = 0
    spent_ms: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_SPENT)] = ()
    before_ms: float = 0.0
    before_withheld: float = 1.0
    deaths: Count = 0
    faults: Count = 0
    seen: Count = 0
    stated: Counts = msgspec.field(default_factory=dict)
    before_seen: Count = 0
    before_stated: Counts = msgspec.field(default_factory=dict)


class Shadow(Record, frozen=True, kw_only=True):
    """What the spare slot has shown beside what runs, on images that came; it is not switched to before that is enough.

    ``needed``: the rate of agreement that is to be shown, within ``most`` images. ``compared``, ``agreed``: images.
    ``last``: how it differed last.
    """

    digest: Digest
    since: Word
    needed: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
    most: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    compared: Count = 0
    agreed: Count = 0
    last: Annotated[str, msgspec.Meta(max_length=MAX_WHY)] = ""


class Failed(Record, frozen=True, kw_only=True):
    """Why a digest is not to run on this device any more."""

    model: Slug
    release: Count
    code: Word
    why: Text
    since: Word


class GivenUp(Record, frozen=True, kw_only=True):
    """Why a digest could not be rehearsed here, for no fault of its own, and how often by now.

    ``cause``: of what the device was like (``given_up.cause_of``); as long as that is so, it waits after ``since``.
    """

    cause: Word
    why: Text
    since: Annotated[str, msgspec.Meta(pattern=r"\A[0-9T:-]{19}Z\Z")]
    times: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 1


class Move(Record, frozen=True, kw_only=True):
    """One thing that happened to the slots, for people; nothing is decided by it."""

    schema: int = SCHEMA
    sequence: Count
    at: Word
    move: Word
    slot: Name | None = None
    digest: Digest | None = None
    why: Annotated[str, msgspec.Meta(max_length=MAX_WHY)] = ""


class Slots(Record, frozen=True, kw_only=True):
    """All of it. ``active`` names the slot that runs; without one, the path in the profile does.

    ``bad`` is by digest, and outlives the slot; so is ``given_up``, of the last ``MAX_GIVEN_UP``.
    ``order`` is the highest number of an order to go back that was
    followed. ``history`` holds the last moves, the newest last.
    """

    schema: int = SCHEMA
    sequence: Count = 0
    a: Slot | None = None
    b: Slot | None = None
    active: Name | None = None
    probation: Probation | None = None
    shadow: Shadow | None = None
    bad: dict[Digest, Failed] = msgspec.field(default_factory=dict)
    given_up: dict[Digest, GivenUp] = msgspec.field(default_factory=dict)
    order: Count = 0
    history: Annotated[tuple[Move, ...], msgspec.Meta(max_length=MAX_HISTORY)] = ()

    def of(self, name: Name) -> Slot | None:
        """What is in a slot."""
        return self.a if name == "a" else self.b

    @property
    def running(self) -> Slot | None:
        """What is in the active slot."""
        return self.of(self.active) if self.active else None

    @property
    def spare(self) -> Name:
        """The slot that the next bundle goes to."""
        return OTHER[self.active] if self.active else "a"

    @property
    def before(self) -> Slot | None:
        """What stood before what runs, where it still lies in the other slot: what a roll-back goes to."""
        slot = self.of(self.spare) if self.active else None
        return slot if slot is not None and slot.stage == "good" and slot.stood else None

    @property
    def candidate(self) -> Slot | None:
        """What is in the spare slot and has never run: what waits for its rehearsal, or for its turn."""
        slot = self.of(self.spare)
        return slot if slot is not None and not slot.stood else None

    @property
    def in_shadow(self) -> Shadow | None:
        """``shadow``, where what it is of still lies there; with another bundle in its place it is over."""
        waiting, shadow = self.candidate, self.shadow
        is_there = waiting is not None and shadow is not None and waiting.digest == shadow.digest
        return shadow if is_there and waiting is not None and waiting.stage == "good" else None

    @property
    def standing(self) -> frozenset[str]:
        """Digests that may run whatever the release floor says."""
        return frozenset(slot.digest for slot in (self.running, self.before) if slot is not None)


def encode(slots: Slots) -> bytes:
    """As it is kept: JSON that people can read.

    Raises:
        SlotsError: it would not be read again, being too long or saying what cannot be.
    """
    data = msgspec.json.format(msgspec.json.encode(slots, order="sorted"), indent=2) + b"\n"
    try:
        decode(data)
    except ValueError as error:
        raise SlotsError(f"the record of the slots could not be read again: {error}") from error
    return data


def decode(data: bytes) -> Slots:
    """Read it, and hold it to what it must be; nothing is guessed.

    Raises:
        ValueError: with a sentence on what is wrong.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    body = read_object(data)
    if body.get("schema") != SCHEMA:
        raise ValueError(f"it has schema {body.get('schema')!r}, this edgeai reads {SCHEMA}")
    slots: Slots = msgspec.json.decode(data, type=Slots, strict=True)
    if mistake := next(mistakes(slots), ""):
        raise ValueError(mistake)
    return slots


def mistakes(slots: Slots) -> Iterator[str]:
    """What can never be, however the slots came about."""
    running = slots.running
    if slots.active and (running is None or running.stage != "good" or not running.stood):
        yield f"slot {slots.active} is active, and holds nothing that may run"
    if slots.probation is not None and not slots.active:
        yield "there is a probation, and nothing is active"
    if slots.shadow is not None and slots.in_shadow is None:
        yield "there is a shadow, and what it is of does not lie in the spare slot"
    if slots.shadow is not None and slots.shadow.agreed > slots.shadow.compared:
        yield "a shadow agreed on more images than were compared"
    for name in OTHER:
        slot = slots.of(name)
        if slot is not None and (slot.stage == "bad") != (slot.digest in slots.bad):
            yield f"slot {name} is {slot.stage}, and what is remembered of its digest says otherwise"
