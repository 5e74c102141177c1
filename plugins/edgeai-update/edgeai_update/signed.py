"""What ops have signed about a model, and what this device is: all that decides whether its turn has come."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import edgeai
from edgeai.bundle.acceptance import accepted_digests
from edgeai.rollouts import (
    MAX_DOCUMENT_BYTES,
    STOP_PATH,
    Approval,
    Choice,
    Facts,
    Offered,
    Orders,
    RollBack,
    Rollout,
    Stop,
    choose,
    decode,
    kind_of,
    turn_of,
)
from edgeai.rollouts.choosing import is_for
from edgeai.rollouts.turns import not_selected
from edgeai.slots import Asked
from edgeai.slots.moves import left_by_order

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from edgeai.bundle.releases import Numbered
    from edgeai.config import DeviceConfig
    from edgeai.slots import SlotFolder, Slots
    from edgeai_update.repository import Listed, Repository

_D = TypeVar("_D", Approval, RollBack, Stop)
CAN: Final = frozenset({"shadow", "acceptance"})
"""Of what a rollout may need, what is to be had here."""


def orders_of(repository: Repository, model: str, digests: Collection[str]) -> Orders:
    """The newest of each document about a model: of rollouts those of these bundles, which alone are fetched.

    One that cannot be read is refused, and nothing is taken that it may be about.

    Raises:
        RolloutError: ``rollout.invalid``.
        UpdateError: as ``Repository.document``.
    """
    repository.find("rollouts/0.json")  # loads the role
    rollouts = []
    for path, target in repository.every("rollouts/"):
        if kind_of(path) is Rollout and _is_about(target, model, digests):
            rollouts.append(decode(repository.document(target, MAX_DOCUMENT_BYTES), Rollout, path))
    mine = tuple(each for each in rollouts if each.plan.model == model)
    asked = [each.name for each in mine if each.plan.approve_resuming or any(at.approval for at in each.plan.phases)]
    approvals = {name: _read(repository, f"approvals/{name}.json", Approval) for name in asked}
    return Orders(
        rollouts=mine,
        approvals={name: approval for name, approval in approvals.items() if approval is not None},
        back=_read(repository, f"rollouts/{model}.back.json", RollBack),
        stop=_read(repository, STOP_PATH, Stop),
    )


def facts_of(config: DeviceConfig, runs: Numbered, slots: Slots) -> Facts:
    """What this device is to a rollout.

    Raises:
        ConfigError: the keys of [trust] acceptors: ``keys.not-public``, ``keys.bounds``.
    """
    own = {"site": config.device.site, "device_id": config.device.id}
    return Facts(
        site=config.device.site,
        device=config.device.id,
        edgeai=edgeai.__version__,
        model=runs.name,
        digest=runs.digest,
        release=runs.release,
        followed=slots.order,
        labels=config.device.labels,
        machine=os.uname().machine,
        backends=frozenset(config.plugins.allow),
        can=CAN,
        accepted=accepted_digests(config.device.data_dir, config.trust.acceptors, own),
    )


@dataclass(frozen=True, slots=True)
class Signed:
    """All that is offered of a model, all that is signed about it, and what this device is."""

    offers: tuple[Listed, ...]
    orders: Orders
    facts: Facts

    @classmethod
    def of(cls, repository: Repository, config: DeviceConfig, runs: Numbered, slots: Slots) -> Signed:
        """As a repository has it now.

        Raises: as ``orders_of``.
        """
        offers = repository.offers(runs.name)
        digests = {each.digest for each in offers if each.release > runs.release}
        waiting = {slots.candidate.digest} if slots.candidate is not None else set()
        orders = orders_of(repository, runs.name, digests | waiting)
        return cls(offers, orders, facts_of(config, runs, slots))

    def choice(self) -> Choice:
        """What is taken, or waited for."""
        return choose([_offered(each) for each in self.offers], self.orders, self.facts, _now())

    def asked(self, choice: Choice) -> Asked | None:
        """What the rollout by which it comes asks before it is switched to; the profile may ask for more."""
        plan = next((each.plan for each in self.orders.rollouts if each.name == choice.turn.rollout), None)
        if plan is None:
            return None
        shadow = plan.needs.shadow
        return Asked(
            agreement=shadow.agreement if shadow is not None else 0.0,
            images=shadow.images if shadow is not None else 0,
            windows=plan.windows,
        )

    def listed(self, digest: str) -> Listed | None:
        """An offer, by its digest."""
        return next((each for each in self.offers if each.digest == digest), None)

    def give_up(self, folder: SlotFolder, slots: Slots) -> Slots:
        """What waits to be rehearsed or switched to goes, where it is not its turn any more: its rollout was stopped.

        Raises:
            SlotsError: ``slots.unwritable``; ``slots.out-of-turn``: it was switched to meanwhile.
        """
        waiting = slots.candidate
        if waiting is None or waiting.stage not in ("installed", "good") or slots.active is None:
            return slots
        listed, back = self.listed(waiting.digest), self.orders.back
        if listed is None or (back is not None and back.to == waiting.digest and is_for(back, self.facts)):
            return slots
        answer = turn_of(_offered(listed), self.orders, self.facts, _now())
        if answer.word == "taken" or answer.code == "rollout.outside-window":
            return slots
        name = f"rollout {answer.rollout}: " if answer.rollout else ""
        return folder.abandon(f"{name}{answer.why} [{answer.code}]", waiting.digest)

    def forgive(self, folder: SlotFolder, slots: Slots) -> Slots:
        """What was left by an order that is lifted may come again.

        Raises:
            SlotsError: ``slots.unwritable``.
        """
        back = self.orders.back
        if back is None or not back.lifted or not_selected(back.select, self.facts):
            return slots
        for digest in left_by_order(slots, back.leaves):
            slots = folder.pardon(digest)
        return slots


def _offered(listed: Listed) -> Offered:
    return Offered(release=listed.release, digest=listed.digest, by_rollout=listed.by_rollout)


def _now() -> datetime:
    return datetime.now().astimezone()


def _is_about(target: TargetFile, model: str, digests: Collection[str]) -> bool:
    """As its role says in the list; where it says nothing, one has to look."""
    custom: Any = target.unrecognized_fields.get("custom")
    more = custom if isinstance(custom, dict) else {}
    return more.get("model", model) == model and (more.get("digest") is None or more["digest"] in digests)


def _read(repository: Repository, path: str, kind: type[_D]) -> _D | None:
    target = repository.find(path)
    return None if target is None else decode(repository.document(target, MAX_DOCUMENT_BYTES), kind, path)
