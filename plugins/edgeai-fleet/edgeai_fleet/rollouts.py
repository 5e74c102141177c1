"""What ops do with rollouts: each stages one document more, for the keys of its role to sign."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from securesystemslib.signer import Signer

from edgeai.api.errors import ConfigError
from edgeai.counted import counted
from edgeai.rollouts import Approval, Plan, RollBack, Rollout, Select, Stop, encode
from edgeai_fleet.changes import CHANGES, word_of
from edgeai_fleet.documents import Documents, documents_of, stage
from edgeai_fleet.layout import Folder
from edgeai_fleet.offering import Listed, listed
from edgeai_fleet.staging import Staging, hold_to_role, staging
from edgeai_fleet.state import APPROVALS, State


def offer_of(state: State, model: str, release: int | None = None) -> Listed:
    """What is offered of a model, as it will be: this release, or the highest.

    Raises:
        ConfigError: ``fleet.not-offered``.
    """
    offers = [each for each in listed(state) if each.name == model and state.owner(each.path) == each.role]
    for each in reversed(offers):
        if release in (None, each.release):
            return each
    there = ", ".join(str(each.release) for each in offers) or "none"
    raise ConfigError(
        f"{model}{f' release {release}' if release else ''} is not offered",
        code="fleet.not-offered",
        remedy=f"add it first (`edgeai fleet add`); releases of {model} that are offered: {there}",
    )


def draft(change: Staging, name: str, plan: Plan, why: str = "", now: datetime | None = None) -> Rollout:
    """The first document of a rollout, held to what the repository offers; nothing is staged yet.

    Raises:
        ConfigError: ``fleet.rollout-exists``, ``fleet.not-by-rollout``, ``fleet.not-offered``, ``fleet.roles``.
        RolloutError: ``rollout.invalid``.
    """
    if any(each.name == name for each in _documents(change).rollouts):
        raise ConfigError(
            f"there is a rollout {name!r} already",
            code="fleet.rollout-exists",
            remedy="take another name: each has a row of devices of its own",
        )
    if not offer_of(change.merged, plan.model, plan.release).by_rollout:
        raise ConfigError(
            f"{plan.model} release {plan.release} is offered to every cart, and no rollout keeps any from it",
            code="fleet.not-by-rollout",
            remedy="edgeai fleet add --by-rollout with its file, signed and published with the rollout or before",
        )
    if (plan.approve_resuming or any(each.approval for each in plan.phases)) and not change.merged.keys(APPROVALS):
        raise ConfigError(
            "the plan needs approvals, and nobody here may give one",
            code="fleet.roles",
            remedy=f"edgeai fleet rotate-key FOLDER {APPROVALS} --in PUB, and sign and publish that",
        )
    at = word_of(now or datetime.now(UTC))
    rollout = Rollout(name=name, serial=1, plan=plan, since=at, at=at, why=why)
    encode(rollout)  # refused before anybody reads it
    return rollout


def start(folder: Folder, name: str, plan: Plan, why: str = "", now: datetime | None = None) -> Rollout:
    """Stage the first document of a rollout.

    Raises:
        ConfigError: as ``draft``, and the codes of ``staging``.
        RolloutError: ``rollout.invalid``.
    """
    with staging(folder) as change:
        rollout = draft(change, name, plan, why, now)
        stage(change, rollout)
        return rollout


def go_on(
    folder: Folder,
    name: str,
    what: str,
    why: str = "",
    now: datetime | None = None,
    *,
    after: int | None = None,
    **more: Any,
) -> Rollout:
    """Stage the next document of a rollout; ``what`` is one of ``CHANGES``.

    ``after``: the serial that was looked at; where somebody has changed it since, nothing is staged.

    Raises:
        ConfigError: ``fleet.no-rollout``, ``fleet.rollout-state``, and the codes of ``staging``.
    """
    with staging(folder) as change:
        before = _documents(change).rollout(name)
        if after is not None and before.serial != after:
            raise ConfigError(
                f"{name}: its document {before.serial} waits or was published since {after} was looked at",
                code="fleet.rollout-state",
                remedy="publish what waits (`edgeai fleet rollout show`), or look again",
            )
        rollout = CHANGES[what](before, now or datetime.now(UTC), why, **more)
        stage(change, rollout)
        return rollout


def approve(
    folder: Folder,
    name: str,
    phase: int | None = None,
    now: datetime | None = None,
    *,
    signers: Sequence[Signer] = (),
) -> Approval:
    """Stage a second key's word on a rollout's plan: up to a phase (all, without), after as many halts as there were.

    Args:
        folder: the repository.
        name: of the rollout.
        phase: up to which; all, without.
        now: the time.
        signers: keys that are to sign it next: each must be an approver's.

    Raises:
        ConfigError: ``fleet.no-rollout``, ``fleet.rollout-state``, ``fleet.roles``, ``fleet.key-unknown``, and the
            codes of ``staging``.
    """
    with staging(folder) as change:
        rollout = _documents(change).rollout(name)
        last = len(rollout.plan.phases)
        if phase is not None and phase > last:
            raise ConfigError(
                f"{name} has {counted(last, 'phase')}", code="fleet.rollout-state", remedy="approve one of them"
            )
        hold_to_role(change, APPROVALS, signers)
        approval = Approval(
            rollout=name,
            plan=rollout.plan.fingerprint,
            phase=phase or last,
            halts=rollout.halts,
            at=word_of(now or datetime.now(UTC)),
        )
        stage(change, approval)
        return approval


def order_back(
    folder: Folder,
    model: str,
    leaves: Sequence[int],
    to: int,
    why: str,
    *,
    sites: Sequence[str] = (),
    now: datetime | None = None,
) -> RollBack:
    """Stage an order: whoever runs one of these releases runs that one, and nobody takes what is left.

    Raises:
        ConfigError: ``fleet.not-offered``; ``fleet.not-back``: it is above one that is to be left; and the codes of
            ``staging``.
        RolloutError: ``rollout.invalid``.
    """
    with staging(folder) as change:
        before = _documents(change).backs.get(model)
        target = offer_of(change.merged, model, to)
        if forward := [each for each in leaves if each < to]:
            raise ConfigError(
                f"release {to} of {model} is newer than {forward[0]}, which is to be left: that is no way back",
                code="fleet.not-back",
                remedy="order back to a lower release; to a newer one carts come by `edgeai fleet rollout start`",
            )
        back = RollBack(
            model=model,
            number=before.number + 1 if before is not None else 1,
            leaves=tuple(offer_of(change.merged, model, each).digest for each in leaves),
            to=target.digest,
            release=target.release,
            why=why,
            select=Select(sites=tuple(sites)),
            at=word_of(now or datetime.now(UTC)),
        )
        stage(change, back)
        return back


def lift_back(folder: Folder, model: str, why: str, *, now: datetime | None = None) -> RollBack:
    """Stage the end of the order that is in force: nobody follows it any more, and what it leaves may be taken again.

    Raises:
        ConfigError: ``fleet.rollout-state``: none is in force; and the codes of ``staging``.
        RolloutError: ``rollout.invalid``.
    """
    with staging(folder) as change:
        before = _documents(change).backs.get(model)
        if before is None or before.lifted:
            raise ConfigError(
                f"no order back of {model} is in force",
                code="fleet.rollout-state",
                remedy="`edgeai fleet rollout show` lists those that are",
            )
        at = word_of(now or datetime.now(UTC))
        lifted = msgspec.structs.replace(before, number=before.number + 1, why=why, lifted=True, at=at)
        stage(change, lifted)
        return lifted


def stop(
    folder: Folder, models: Sequence[str] = (), why: str = "", *, lift: bool = False, now: datetime | None = None
) -> Stop:
    """Stage the emergency stop, or its end.

    Raises:
        ConfigError: ``fleet.rollout-state``: it is lifted, or was never in force; ``fleet.not-offered``: a model of
            which nothing is; and the codes of ``staging``.
    """
    with staging(folder) as change:
        _hold_to_models(change, models)
        before = _documents(change).stop
        if lift and (before is None or not before.stopped):
            raise ConfigError("no emergency stop is in force", code="fleet.rollout-state", remedy="nothing")
        serial = before.serial + 1 if before is not None else 1
        at = word_of(now or datetime.now(UTC))
        document = Stop(serial=serial, stopped=not lift, models=() if lift else tuple(models), why=why, at=at)
        stage(change, document)
        return document


def _hold_to_models(change: Staging, models: Sequence[str]) -> None:
    """Refuse a model that nothing is offered of: a stop of it would stop nothing."""
    there = {each.name for each in listed(change.merged)}
    if unknown := [model for model in models if model not in there]:
        raise ConfigError(
            f"nothing is offered of {unknown[0]}: to stop it stops no cart",
            code="fleet.not-offered",
            remedy=f"models that are offered: {', '.join(sorted(there)) or 'none'}; without --model all are stopped",
        )


def _documents(change: Staging) -> Documents:
    return documents_of(change.folder, change.merged)
