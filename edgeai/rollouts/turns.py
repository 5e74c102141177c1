"""Whether a device's turn has come: one function for the cart, the conductor, the simulation and who explains. Pure.

Nothing is asked of a clock but the time of the week, and nothing of any other device: from what is signed and what the
device is, the same answer follows everywhere (ADR 0059).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

from edgeai.bundle.manifest import version_numbers
from edgeai.rollouts.document import Approval, Rollout, Select
from edgeai.rollouts.places import phase_of, place
from edgeai.windows import is_open

Word: TypeAlias = Literal["taken", "not-yet", "never"]
"""``never``: not by this rollout, whatever phase is opened, as long as the device is what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a device is, as far as rollouts ask.

    Attributes:
        site, device: its names.
        labels: of its profile.
        edgeai: the version that runs there.
        machine: as ``uname -m`` says.
        backends: that may be loaded there.
        model, digest, release: what runs of the deployment.
        followed: the highest number of an order back that was followed there.
        can: of what a rollout may need, what this edgeai can do: ``shadow``, ``acceptance``.
        accepted: digests that the site's own report accepts.
    """

    site: str
    device: str
    edgeai: str
    model: str
    digest: str
    release: int = 0
    followed: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    backends: frozenset[str] = frozenset()
    can: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The answer. ``code``: stable, empty when taken. ``phase``: the device's own, from 1, where it has one."""

    word: Word
    code: str
    why: str
    rollout: str = ""
    phase: int | None = None


_RANK: Final[Mapping[Word, int]] = {"taken": 0, "not-yet": 1, "never": 2}


def turn(rollout: Rollout, facts: Facts, now: datetime, approval: Approval | None = None) -> Turn:
    """Whether this device takes the bundle of a rollout now, and if not, why.

    Args:
        rollout: as it was signed last.
        facts: of the device.
        now: by the device's clock, in its own zone.
        approval: the newest of a second key for this rollout, if there is one.
    """
    plan = rollout.plan
    number = phase_of(place(rollout.name, facts.site, facts.device), plan.phases)

    def says(word: Word, code: str, why: str) -> Turn:
        return Turn(word=word, code=code, why=why, rollout=rollout.name, phase=number)

    if facts.model != plan.model:
        return says("never", "rollout.other-model", f"it is about {plan.model}, and {facts.model} runs here")
    if facts.digest == plan.digest:
        return says("taken", "", "it runs here already")
    if unfit := not_selected(plan.select, facts):
        return says("never", "rollout.not-selected", f"it is not for this device: {unfit}")
    if plan.replaces and facts.digest not in plan.replaces:
        why = f"it replaces other bundles than the one that runs here, {facts.digest[:19]}..."
        return says("never", "rollout.not-selected", why)
    if lacking := [need for need in _needed(rollout) if need not in facts.can]:
        return says("never", "rollout.unsupported", f"it needs {' and '.join(lacking)}, which is not to be had here")
    if number is None:
        return says("never", "rollout.not-selected", "its phases end before this device's place")
    if stopped := _STOPPED.get(rollout.state):
        word, code, what = stopped
        return says(word, code, f"{what}{f': {rollout.why}' if rollout.why else ''}")
    opened = rollout.open if rollout.state == "running" else len(plan.phases)
    if number > opened:
        return says(
            "not-yet",
            "rollout.later-phase",
            f"phase {number} of {len(plan.phases)} is this device's, and "
            f"{opened} {'is' if opened == 1 else 'are'} open",
        )
    if lacks := not_approved(rollout, number, approval):
        return says("not-yet", "rollout.unapproved", lacks)
    if plan.needs.acceptance and plan.digest not in facts.accepted:
        return says(
            "not-yet", "rollout.not-accepted", "it needs this site's own report on the bundle, and there is none"
        )
    if not is_open(plan.windows, now):
        return says("not-yet", "rollout.outside-window", f"its windows are closed at {now:%a %H:%M}")
    return says("taken", "", f"phase {number} of {len(plan.phases)} is open")


_STOPPED: Final[Mapping[str, tuple[Word, str, str]]] = {
    "paused": ("not-yet", "rollout.paused", "it is paused"),
    "halted": ("not-yet", "rollout.halted", "it is halted"),
    "cancelled": ("never", "rollout.cancelled", "it was cancelled"),
}


def best(turns: Iterable[Turn]) -> Turn | None:
    """Of several rollouts of one bundle, the answer that lets most; the first of equals."""
    return min(turns, key=lambda each: _RANK[each.word], default=None)


def not_approved(rollout: Rollout, number: int, approval: Approval | None) -> str:
    """What a second key has still to say before a phase takes it, in a sentence; empty where nothing."""
    plan = rollout.plan
    up_to = max((at for at, phase in enumerate(plan.phases[:number], 1) if phase.approval), default=0)
    resumed = rollout.halts if plan.approve_resuming else 0
    if not up_to and not resumed:
        return ""
    if approval is None or approval.rollout != rollout.name:
        return f"phase {number} needs the approval of a second key" if up_to else "it needs an approval after its halt"
    if approval.plan != plan.fingerprint:
        return "what a second key approved is another plan"
    if approval.phase < up_to:
        return f"a second key approved it up to phase {approval.phase}, and phase {up_to} needs an approval"
    if approval.halts < resumed:
        return f"it was halted {resumed} times, and approved after {approval.halts}"
    return ""


def not_selected(select: Select, facts: Facts) -> str:
    """What of a device does not fit, in a few words; empty where all does."""
    if select.sites and facts.site not in select.sites:
        return f"site {facts.site}"
    if select.devices and f"{facts.site}/{facts.device}" not in select.devices:
        return f"device {facts.site}/{facts.device}"
    for label, values in select.labels.items():
        if facts.labels.get(label) not in values:
            return f"label {label} is {facts.labels.get(label, 'not set')}"
    if select.machines and facts.machine not in select.machines:
        return f"machine {facts.machine or 'unknown'}"
    if select.backends and not facts.backends & set(select.backends):
        return f"backends {', '.join(sorted(facts.backends)) or 'unknown'}"
    here = version_numbers(facts.edgeai)
    if select.edgeai_least is not None and here < version_numbers(select.edgeai_least):
        return f"edgeai {facts.edgeai} is older than {select.edgeai_least}"
    if select.edgeai_below is not None and here >= version_numbers(select.edgeai_below):
        return f"edgeai {facts.edgeai} is not older than {select.edgeai_below}"
    return ""


def _needed(rollout: Rollout) -> tuple[str, ...]:
    needs = rollout.plan.needs
    return tuple(name for name, is_needed in (("shadow", needs.shadow), ("acceptance", needs.acceptance)) if is_needed)
