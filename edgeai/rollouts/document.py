"""What ops sign about a model that is to go out: the rollout, the approval of it, the order back, and the stop.

Each is a JSON target of the repository's rollouts role (approvals: of the role of that name). TUF says who signed it
and that it is the newest; what it may say is here, and what a cart makes of it is ``turns`` (ADR 0059). Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.parts import Count, DottedNumbers, Record, Slug, Text
from edgeai.bundle.strict_json import read_object
from edgeai.windows import PATTERN

SCHEMA: Final = 1
MAX_DOCUMENT_BYTES: Final = 64 << 10

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,63}\Z")]
"""Of a rollout. No dot: what stands behind one in a target's path says which document it is."""
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Span: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=31_536_000.0)]
"""Seconds, a year at most."""
Window: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{PATTERN[1:-1]}\Z")]
"""Local times of the week, as ``edgeai.windows`` reads them."""
Time: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
State: TypeAlias = Literal["running", "paused", "halted", "cancelled", "done"]
"""``paused``: a person waits. ``halted``: too many failed. ``cancelled``: never again. ``done``: all phases held."""
Few: TypeAlias = Annotated[tuple[Slug, ...], msgspec.Meta(max_length=1000)]


class RolloutError(EdgeaiError):
    """A signed document of a rollout cannot be read, or says what cannot be."""

    default_code: ClassVar[str] = "rollout.invalid"


class Select(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Which devices it is for; what is empty asks nothing, and all that is not empty must fit.

    ``devices``: as ``site/id``. ``labels``: of the profile's ``device.labels``, any of these values each.
    ``backends``: any of them may be loaded there. ``machines``: as ``uname -m`` says. ``edgeai_least``,
    ``edgeai_below``: the first version of edgeai that may take it, and the first that may not any more.
    """

    sites: Few = ()
    devices: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=1000)] = ()
    labels: dict[Slug, Few] = msgspec.field(default_factory=dict)
    backends: Few = ()
    machines: Few = ()
    edgeai_least: DottedNumbers | None = None
    edgeai_below: DottedNumbers | None = None


class Phase(Record, frozen=True, kw_only=True, omit_defaults=True):
    """So large a share of the devices, those of the phases before among them.

    ``soak_s``: at least so long it stays open before the next. ``approval``: it needs one of a second key.
    """

    share: Share
    soak_s: Span = 0.0
    approval: bool = False


class Halting(Record, frozen=True, kw_only=True, omit_defaults=True):
    """When the conductor halts it: from ``least`` failed devices on, where they are more than ``failures`` of those
    that have ended. A device that says nothing for ``silent_s`` counts as failed.
    """

    failures: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.05
    least: Annotated[int, msgspec.Meta(ge=1, le=2**31)] = 1
    silent_s: Annotated[float, msgspec.Meta(ge=60.0, le=31_536_000.0)] = 86_400.0


class Shadow(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Before it is switched to, it must agree with what runs on ``agreement`` of the images, within ``images``."""

    agreement: Annotated[float, msgspec.Meta(gt=0.0, le=0.99)]
    images: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 500


class Needs(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a cart must have shown first. ``acceptance``: the site's own report on this bundle."""

    shadow: Shadow | None = None
    acceptance: bool = False


class Plan(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What does not change while a rollout goes on; approvals are of its digest.

    ``replaces``: digests of which one must run; any without. ``windows``: in which a cart may begin to take it, and
    switch to it. ``approve_resuming``: after a halt it goes on with an
    approval only.
    """

    model: Slug
    release: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    digest: Digest
    phases: Annotated[tuple[Phase, ...], msgspec.Meta(min_length=1, max_length=32)]
    replaces: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=100)] = ()
    select: Select = Select()
    windows: Annotated[tuple[Window, ...], msgspec.Meta(max_length=32)] = ()
    halting: Halting = Halting()
    needs: Needs = Needs()
    approve_resuming: bool = False
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the plan as canonical JSON, keys that are as usual left out: what an approval is of."""
        return "sha256:" + hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Rollout(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A plan and how far it is.

    ``serial`` rises with each document of this name. Phases 1 to ``open`` may take it. ``halts``: how often it was
    halted. ``since``: when the phase now open was opened. ``why``: a sentence on the last change.
    """

    schema: int = SCHEMA
    name: Name
    serial: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    plan: Plan
    open: Annotated[int, msgspec.Meta(ge=1, le=32)] = 1
    state: State = "running"
    halts: Count = 0
    since: Time
    at: Time
    why: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class Approval(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A second key's word on a rollout: this plan, up to this phase, resumed after so many halts."""

    schema: int = SCHEMA
    rollout: Name
    plan: Digest
    phase: Annotated[int, msgspec.Meta(ge=1, le=32)]
    halts: Count = 0
    at: Time


class RollBack(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An order to devices that run one of ``leaves`` to run ``to`` instead; of a model the newest alone is in force.

    Each is followed once, by its number, which only rises. No device takes what it is told to leave, until one with
    the next number is ``lifted``: nobody follows that, and what was bad on a device by an order alone may come again.
    """

    schema: int = SCHEMA
    model: Slug
    number: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    leaves: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=100)]
    to: Digest
    release: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    why: Text
    select: Select = Select()
    lifted: bool = False
    at: Time


class Stop(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The emergency stop: while ``stopped``, nobody takes anything of these models (of any, without names)."""

    schema: int = SCHEMA
    serial: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    stopped: bool
    models: Few = ()
    why: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    at: Time


Document: TypeAlias = Rollout | Approval | RollBack | Stop
_D = TypeVar("_D", bound=Document)

STOP_PATH: Final = "rollouts/all.stop.json"
_PATHS: Final[Mapping[type[Document], re.Pattern[str]]] = {
    Rollout: re.compile(r"rollouts/([a-z0-9][a-z0-9-]{0,63})\.json", re.ASCII),
    Approval: re.compile(r"approvals/([a-z0-9][a-z0-9-]{0,63})\.json", re.ASCII),
    RollBack: re.compile(r"rollouts/([a-z0-9][a-z0-9._-]{0,63})\.back\.json", re.ASCII),
    Stop: re.compile(r"rollouts/(all)\.stop\.json", re.ASCII),
}


def path_of(document: Document) -> str:
    """Where it lies, as the path of a TUF target."""
    if isinstance(document, Rollout):
        return f"rollouts/{document.name}.json"
    if isinstance(document, Approval):
        return f"approvals/{document.rollout}.json"
    if isinstance(document, RollBack):
        return f"rollouts/{document.model}.back.json"
    return STOP_PATH


def kind_of(path: str) -> type[Document] | None:
    """Which document lies at the path of a target; ``None`` for anything else."""
    return next((kind for kind, pattern in _PATHS.items() if pattern.fullmatch(path)), None)


def encode(document: Document) -> bytes:
    """Its bytes, held to what can be read again.

    Raises:
        RolloutError: ``rollout.invalid``.
    """
    fields = {"schema": SCHEMA, **msgspec.to_builtins(document)}  # said although it is as usual
    data = msgspec.json.format(msgspec.json.encode(fields, order="sorted"), indent=2) + b"\n"
    decode(data, type(document))
    return data


def decode(data: bytes, kind: type[_D], path: str = "") -> _D:
    """Read one.

    Args:
        data: of a target that TUF found to be signed.
        kind: what it must be.
        path: where it lay; it must be about what its path says.

    Raises:
        RolloutError: ``rollout.invalid``.
    """
    what = path or f"the {kind.__name__.lower()}"
    try:
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"it has {len(data)} bytes, at most {MAX_DOCUMENT_BYTES} are read")
        body = read_object(data)
        if type(schema := body.get("schema")) is not int or schema != SCHEMA:
            raise ValueError(f"it has schema {body.get('schema')!r}, this edgeai reads {SCHEMA}")
        document: _D = msgspec.json.decode(data, type=kind, strict=True)
        if mistake := next(mistakes(document), ""):
            raise ValueError(mistake)
        if path and path_of(document) != path:
            raise ValueError(f"it is about {path_of(document)}")
    except (ValueError, RecursionError) as error:
        raise RolloutError(
            f"{what} cannot be read: {error}",
            code="rollout.invalid",
            remedy="have it made and signed again (`edgeai fleet rollout`); until then nothing is taken by it",
        ) from error
    return document


def mistakes(document: Document) -> Iterator[str]:
    """What types alone do not say."""
    for name in ("at", "since"):
        time = getattr(document, name, None)
        try:
            datetime.strptime(time or "2000-01-01T00:00:00Z", "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            yield f"{name}: {time} is no time"
    if isinstance(document, RollBack) and document.to in document.leaves:
        yield f"it wants to run what it wants to leave, {document.to}"
    if not isinstance(document, Rollout):
        return
    plan = document.plan
    shares = [phase.share for phase in plan.phases]
    if any(next_ <= share for share, next_ in pairwise(shares)):
        yield f"plan.phases: shares must rise: {', '.join(f'{share:g}' for share in shares)}"
    if document.open > len(plan.phases):
        yield f"open: phase {document.open} of {len(plan.phases)}"
    if plan.digest in plan.replaces:
        yield "plan.replaces: it would replace itself"
    if document.state == "halted" and not document.halts:
        yield "halts: it is halted, and was never"
    for window in plan.windows:
        begin, end = window.rpartition(" ")[2].split("-")
        if begin == end:
            yield f"plan.windows: {window} is no time"
