"""Which backend, device and artifact serve a model, and for every other one why not. Pure: no engine is touched.

The caller probes the backends, hands over what it found, and opens the candidates in order. When one does not
open, ``Choice.after`` gives the next, and keeps what was said. Nothing is passed over in silence: ``degraded``
names the first wish and every reason that it was not taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgeai.api import LAST_RANK, BackendError, BackendUnavailable, Degradation, EdgeaiError

AUTO = "auto"
FASTEST = "fastest"
"""Every backend is measured (``edgeai.model.fastest``); stands alone among wishes."""
NO_CANDIDATE = "backend.no-candidate"
NOT_FETCHED = "not fetched"
"""Why an artifact of the bundle that this device does not hold is not taken."""


class ArtifactLike(Protocol):
    """One entry of a manifest's ``artifacts``; their order is the author's preference."""

    @property
    def id(self) -> str:
        """Unique in the manifest."""
        ...

    @property
    def format(self) -> str:
        """Which backends open it (``BackendSpec.artifact_format``)."""
        ...

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16``, ..."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What probing one backend gave.

    Attributes:
        backend: ``BackendSpec.name``.
        artifact_format: what it opens.
        devices: names, best first, as ``probe`` gave them.
        engine: engine with version; empty when it is not installed.
        why: why there is no device, in the engine's own words.
        fault: why the plugin could not even be asked: it does not load, or its probe broke the contract.
        rank: its place under ``auto``, as ``BackendSpec.rank``.
    """

    backend: str
    artifact_format: str
    devices: tuple[str, ...]
    engine: str = ""
    why: str = ""
    fault: str = ""
    rank: int = LAST_RANK


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A backend by name, or ``auto`` for all that are offered; perhaps on one device, perhaps with one artifact."""

    backend: str
    device: str | None = None
    artifact: str | None = None

    def __str__(self) -> str:
        return _named(self.backend, self.device, self.artifact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One artifact, to be opened by one backend on one device."""

    backend: str
    device: str
    artifact: str
    precision: str

    def __str__(self) -> str:
        return _named(self.backend, self.device, self.artifact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A candidate, or a whole backend, that is not taken.

    Attributes:
        what: as messages name it (``openvino on NPU with fp16``).
        because: one sentence.
        wished: whether it stood before what was taken, so that passing it over degrades the choice.
    """

    backend: str
    what: str
    because: str
    wished: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.because}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to open, best first, and everything that was passed over.

    Attributes:
        wish: the first wish, as the configuration has it.
        candidates: never empty; the first is the choice, the others are for when it does not open.
        refusals: every other one, with why not.
        errors: how candidates that were tried failed, in order.
    """

    wish: Wish
    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...] = ()
    errors: tuple[EdgeaiError, ...] = ()

    @property
    def taken(self) -> Candidate:
        """The best candidate that is left."""
        return self.candidates[0]

    @property
    def backend(self) -> str:
        """The backend of the best candidate."""
        return self.taken.backend

    @property
    def device(self) -> str:
        """The device of the best candidate."""
        return self.taken.device

    @property
    def artifact(self) -> str:
        """The id of the best candidate's artifact."""
        return self.taken.artifact

    @property
    def degraded(self) -> Degradation | None:
        """What was wished for first and why it was not taken; ``None`` when it was."""
        because = tuple(str(refusal) for refusal in self.refusals if refusal.wished)
        return Degradation(wished=str(self.wish), because=because) if because else None

    def why_not(self) -> tuple[str, ...]:
        """Every backend and candidate but the best: why it is not taken."""
        waiting = tuple(f"{candidate}: stands behind {self.taken}" for candidate in self.candidates[1:])
        return tuple(str(refusal) for refusal in self.refusals) + waiting

    def after(self, error: EdgeaiError) -> Choice:
        """The choice when the best candidate did not open.

        Raises:
            BackendUnavailable: it was the last (``backend.no-candidate``); the message lists all, with why. Where
                it was the only one that was tried, its own class and code instead.
        """
        failed = self.taken
        refusal = Refusal(backend=failed.backend, what=str(failed), because=str(error), wished=True)
        refusals, errors = (*self.refusals, refusal), (*self.errors, error)
        if len(self.candidates) == 1:
            raise _nothing_left(self.wish, refusals, errors)
        return replace(self, candidates=self.candidates[1:], refusals=refusals, errors=errors)


def choose(
    offers: Sequence[Offer],
    artifacts: Sequence[ArtifactLike],
    wishes: Sequence[Wish] = (),
    excluded: Mapping[str, str] | None = None,
    absent: Collection[str] = (),
) -> Choice:
    """Order what can be opened by what is wished.

    Args:
        offers: one a backend that is loaded; also those that found no device.
        artifacts: the manifest's, in its order.
        wishes: best first; none means ``auto``. A backend that no wish names is not taken. A wish that names a
            device keeps it even where ``probe`` does not list it: composite names (``AUTO:GPU,CPU``) are the
            engine's to judge, and it refuses aloud.
        excluded: backend -> why it must not be used now (quarantine).
        absent: ids of artifacts that this device does not hold.

    Raises:
        BackendUnavailable: ``backend.no-candidate``; the message lists every backend, with why not.
    """
    wishes = tuple(wishes) or (Wish(backend=AUTO),)
    by_name = {offer.backend: offer for offer in offers}
    candidates: dict[Candidate, None] = {}
    refusals: dict[str, Refusal] = {}
    untold = dict.fromkeys(absent)
    for wish, named in _expanded(wishes, offers):
        why = _why_no_backend(wish, by_name.get(wish.backend), artifacts)
        barred = (excluded or {}).get(wish.backend)
        if why is not None or barred is not None:
            # What `auto` cannot use was never wished for by name; what is barred would have been taken.
            ahead = not candidates and (named or why is None)
            because = why if why is not None else f"excluded: {barred}"
            refusal = Refusal(backend=wish.backend, what=str(wish), because=because, wished=ahead)
            refusals.setdefault(refusal.what, refusal)
            continue
        fitting = tuple(_candidates(wish, by_name[wish.backend], artifacts))
        for refusal in _not_fetched(wish, fitting, absent, ahead=not candidates):
            refusals.setdefault(refusal.what, refusal)
        for item in fitting:
            untold.pop(item.artifact, None)
        candidates.update(dict.fromkeys(item for item in fitting if item.artifact not in absent))
    spoken_of = {wish.backend for wish, _ in _expanded(wishes, offers)}
    for name in sorted(by_name.keys() - spoken_of):
        refusals[name] = Refusal(backend=name, what=name, because="not among the wishes", wished=False)
    for name in untold:  # nothing that was wished for opens it
        refusals[f"artifact {name}"] = Refusal(backend="", what=f"artifact {name}", because=NOT_FETCHED, wished=False)
    if not candidates:
        raise _nothing_left(wishes[0], tuple(refusals.values()), ())
    return Choice(wish=wishes[0], candidates=tuple(candidates), refusals=tuple(refusals.values()))


def to_hold(choice: Choice, *, every: bool = False) -> tuple[str, ...]:
    """Artifacts that a device has to hold: of the best backend, and of the next one, its fallback.

    Args:
        choice: among all artifacts of the bundle.
        every: all that anything here opens: where all are measured, and the fastest is taken.
    """
    first: dict[str, str] = {}
    for candidate in choice.candidates:
        first.setdefault(candidate.backend, candidate.artifact)
    ids = [candidate.artifact for candidate in choice.candidates] if every else list(first.values())[:2]
    return tuple(dict.fromkeys(ids))


def _not_fetched(
    wish: Wish, fitting: Sequence[Candidate], absent: Collection[str], *, ahead: bool
) -> Iterator[Refusal]:
    """Candidates whose artifact is not held; one for all where the backend has no other."""
    lacking = [candidate for candidate in fitting if candidate.artifact in absent]
    if lacking and len(lacking) == len(fitting):
        ids = ", ".join(dict.fromkeys(candidate.artifact for candidate in lacking))
        yield Refusal(backend=wish.backend, what=str(wish), because=f"{NOT_FETCHED}: {ids}", wished=ahead)
        return
    for candidate in lacking:
        is_first = ahead and all(item in lacking for item in fitting[: fitting.index(candidate)])
        yield Refusal(backend=wish.backend, what=str(candidate), because=NOT_FETCHED, wished=is_first)


def _expanded(wishes: Sequence[Wish], offers: Sequence[Offer]) -> Iterator[tuple[Wish, bool]]:
    """Each wish with a backend's name, and whether that name was wished for, or is one of ``auto``'s."""
    for wish in wishes:
        if wish.backend != AUTO:
            yield wish, True
            continue
        for offer in sorted(offers, key=lambda offer: (offer.rank, offer.backend)):
            yield replace(wish, backend=offer.backend), False


def _why_no_backend(wish: Wish, offer: Offer | None, artifacts: Sequence[ArtifactLike]) -> str | None:
    if offer is None:
        return "no loaded plugin provides this backend"
    if offer.fault:
        return offer.fault
    if not offer.engine:
        return f"its engine is not installed{_in_its_words(offer)}"
    if not offer.devices and wish.device is None:
        return f"it finds no device here{_in_its_words(offer)}"
    if not _fitting(wish, offer, artifacts):
        held = ", ".join(f"{artifact.id} ({artifact.format})" for artifact in artifacts) or "nothing"
        wanted = f"{wish.artifact!r} in format" if wish.artifact else "format"
        return f"the bundle has no artifact {wanted} {offer.artifact_format!r}; it has {held}"
    return None


def _in_its_words(offer: Offer) -> str:
    return f": {offer.why}" if offer.why else ""


def _fitting(wish: Wish, offer: Offer, artifacts: Sequence[ArtifactLike]) -> list[ArtifactLike]:
    return [a for a in artifacts if a.format == offer.artifact_format and wish.artifact in (None, a.id)]


def _candidates(wish: Wish, offer: Offer, artifacts: Sequence[ArtifactLike]) -> Iterator[Candidate]:
    for device in (wish.device,) if wish.device is not None else offer.devices:
        for artifact in _fitting(wish, offer, artifacts):
            yield Candidate(backend=offer.backend, device=device, artifact=artifact.id, precision=artifact.precision)


def _named(backend: str, device: str | None, artifact: str | None) -> str:
    return backend + (f" on {device}" if device else "") + (f" with {artifact}" if artifact else "")


def _nothing_left(wish: Wish, refusals: Sequence[Refusal], errors: Sequence[EdgeaiError]) -> BackendError:
    listed = "; ".join(map(str, refusals)) or "no backend is loaded"
    message = f"no backend can open this model (wished: {wish}). {listed}"
    if len(errors) == 1 and isinstance(errors[0], BackendError):
        return type(errors[0])(message, code=errors[0].code, remedy=errors[0].remedy)
    remedy = "install the plugin and engine of a format that the bundle has, or wish for another backend"
    if any(refusal.because.startswith(NOT_FETCHED) for refusal in refusals):
        remedy = "let the device fetch what is not fetched, copy the bundle here whole, or wish for another backend"
    return BackendUnavailable(message, code=NO_CANDIDATE, remedy=remedy)
