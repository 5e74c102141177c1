"""What is known of a cart: read from its retained status, with nothing believed that is not of its form. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

MAX_STATUS_BYTES: Final = 256 << 10
AWAY: Final = "offline"
"""The state of a last will, and of a farewell: nothing else is said."""
USUAL_NEEDED: Final = 20
"""Results that prove a bundle on a cart that does not say how many: what profiles have where they say nothing."""
_Word = Annotated[str, msgspec.Meta(max_length=2000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A completed result of a cart by a digest."""

    digest: str
    site: str
    device: str
    result_id: str


class Looked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the cart's last look at the repository came to."""

    outcome: _Word = ""
    digest: _Word = ""
    code: _Word = ""
    message: _Word = ""
    rollout: _Word | dict[str, Any] = ""

    def is_by_another(self, rollout: str) -> bool:
        """Whether what it says is of the turn in another rollout than this one: two may bring one bundle."""
        named = self.rollout if isinstance(self.rollout, str) else ""
        return self.code.startswith("rollout.") and named not in ("", rollout)


class InSlot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bundle in a slot."""

    digest: _Word
    model: _Word
    stage: _Word
    release: int = 0
    stood: bool = False


class OnProbation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Results of what runs since it was switched to."""

    needed: int
    completed: int = 0
    failed: int = 0
    withheld: int = 0

    def __str__(self) -> str:
        """``3 of 20``, and where there are some ``3 of 20, 1 failed, 7 withheld``."""
        more = [f"{count} {what}" for count, what in ((self.failed, "failed"), (self.withheld, "withheld")) if count]
        return ", ".join([f"{self.completed} of {self.needed}", *more])


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last bundle that did not stay."""

    move: _Word
    digest: _Word | None = None
    code: _Word | None = None
    why: _Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndHeard:
    """A bundle that did not stay on a cart, as an event of the cart said it (``update.failed`` and its like)."""

    site: str
    device: str
    ended: Ended


class InSlots(msgspec.Struct, frozen=True, omit_defaults=True):
    """Both slots of a deployment."""

    active: _Word | None = None
    a: InSlot | None = None
    b: InSlot | None = None
    probation: OnProbation | None = None
    last_end: Ended | None = None
    needed: int = USUAL_NEEDED

    @property
    def running(self) -> InSlot | None:
        """What runs."""
        return {"a": self.a, "b": self.b}.get(self.active or "")

    @property
    def proving(self) -> int:
        """So many results prove a bundle there: one at least, whatever the cart says."""
        return max(1, self.needed)


class Deployed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment; ``slots`` is there where it takes updates."""

    name: _Word
    backend: _Word | None = None
    slots: InSlots | None = None
    update: Looked | None = None


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status as far as rollouts ask; of an ``offline`` one only the state is there."""

    state: _Word
    edgeai_version: _Word = ""
    machine: _Word = ""
    at: _Word = ""
    labels: dict[str, _Word] = {}
    backends: tuple[_Word, ...] = ()
    deployments: Annotated[tuple[Deployed, ...], msgspec.Meta(max_length=64)] = ()


class Cart(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cart: its names, its last status that said more than ``offline``, and since when it is heard or not.

    Of one that never said more, the status is ``offline``; of one that a plan names and nobody heard, it is empty.

    ``heard_at``: seconds since the epoch, by the clock of who hears; of what was retained, as it says itself.
    """

    site: str
    device: str
    status: Status
    heard_at: float
    is_online: bool = True

    @property
    def name(self) -> str:
        """``site/device``."""
        return f"{self.site}/{self.device}"

    @property
    def is_known(self) -> bool:
        """Whether it ever said what it is; of one that did not, there is a name and no more."""
        return self.status.state not in ("", AWAY)

    def deployments_of(self, model: str) -> Iterator[Deployed]:
        """Those that take updates of a model."""
        for each in self.status.deployments:
            slots = each.slots
            if slots and any(slot is not None and slot.model == model for slot in (slots.running, slots.a, slots.b)):
                yield each


def read_status(body: bytes) -> Status | None:
    """A status; ``None`` for what is none, or too long."""
    if len(body) > MAX_STATUS_BYTES:
        return None
    try:
        return msgspec.json.decode(body, type=Status)
    except (ValueError, RecursionError):
        return None


def heard(before: Cart | None, site: str, device: str, status: Status, now: float, *, retained: bool) -> Cart:
    """The cart after a status that says what it is; ``away`` is for one that does not.

    Args:
        before: what was known of it.
        site: of the topic: the broker vouches for it, and not for what the message says.
        device: the same.
        status: as read.
        now: seconds since the epoch.
        retained: it was kept by the broker, and may be old.
    """
    at = min(now, _moment(status.at) or now) if retained else now
    if before is not None:  # the very status again, from a broker that came back, is no new sign of life
        at = before.heard_at if status.at and status == before.status else max(at, before.heard_at)
    return Cart(site=site, device=device, status=status, heard_at=at)


def away(before: Cart | None, site: str, device: str) -> Cart:
    """The cart after its last will, or its farewell; that is no sign of life."""
    known = before or Cart(site=site, device=device, status=Status(state=AWAY), heard_at=0.0)
    return msgspec.structs.replace(known, is_online=False)


def encode(cart: Cart) -> str:
    """As the store keeps it."""
    return msgspec.json.encode(cart).decode()


def decode(text: str) -> Cart:
    """As it was kept."""
    return msgspec.json.decode(text, type=Cart)


def told(cart: Cart) -> Mapping[str, Any]:
    """For programs."""
    body: Mapping[str, Any] = msgspec.to_builtins(cart)
    return body


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
