"""Two bundles of a model, side by side: what the second changes, under which class, and what was measured of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeai.bundle.change_control import MAX_CHANGE_CONTROL_BYTES, ChangeControl, decode_change_control
from edgeai.bundle.changes import Change, Standing, changes_between, standing_of
from edgeai.bundle.documents import documents_of
from edgeai.bundle.evidence import Estimate, Evidence, Trial
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import read_member, verify_bundle

PARENT = "parent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of one model in both evidences; ``None`` where one of them has it not.

    ``apart``: whether the intervals do not overlap; ``None`` where that cannot be said.
    """

    model: str
    name: str
    before: Estimate | None
    after: Estimate | None

    @property
    def apart(self) -> bool | None:
        """Whether more than chance lies between them, as far as intervals of 95 % say so."""
        was, now = self.before, self.after
        if was is None or was.low is None or was.high is None:
            return None
        if now is None or now.low is None or now.high is None:
            return None
        return was.high < now.low or now.high < was.low


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The split that counts most of each evidence; ``same_data`` by the digest of its pixels and truth."""

    splits: tuple[str, str]
    samples: tuple[int, int]
    same_data: bool
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What came of it.

    Attributes:
        plan: the change control of the first; ``None`` where it has none, and nothing is asked on a cart.
        changes: each with the class that it falls under.
        evidence: ``None`` where one of them has none that can be read.
    """

    before: Manifest
    after: Manifest
    digests: tuple[str, str]
    plan: ChangeControl | None
    changes: tuple[tuple[Change, Standing], ...]
    evidence: Compared | None

    @property
    def needs_approval(self) -> bool:
        """Whether a cart that runs the first asks for an approver's signature on the second."""
        return self.plan is not None and any(standing == "approval" for _, standing in self.changes)


def diff(first: Path, second: Path) -> Diff:
    """Hold every byte of both bundles to their manifests, and compare them.

    Raises:
        BundleRejected: one of them is not sound; ``bundle.bad-change-control``: the first one's plan cannot be read.
    """
    before, after = verify_bundle(first), verify_bundle(second)
    plan = None
    if before.manifest.change_control is not None:
        data = read_member(first, before.manifest, before.manifest.change_control, MAX_CHANGE_CONTROL_BYTES)
        plan = decode_change_control(data or b"")
    changes = changes_between(before.manifest, after.manifest)
    return Diff(
        before=before.manifest,
        after=after.manifest,
        digests=(before.digest, after.digest),
        plan=plan,
        changes=tuple((change, standing_of(change, plan)) for change in changes),
        evidence=compared(documents_of(first, before.manifest).evidence, documents_of(second, after.manifest).evidence),
    )


def compared(before: Evidence | None, after: Evidence | None) -> Compared | None:
    """What was measured of the parents and of what ships, figure by figure."""
    if not (before and after and before.trials and after.trials):
        return None
    trials = (before.trials[-1], after.trials[-1])
    return Compared(
        splits=(trials[0].split, trials[1].split),
        samples=(trials[0].samples, trials[1].samples),
        same_data=bool(trials[0].data) and trials[0].data == trials[1].data,
        figures=tuple(_figures(*trials)),
    )


def _figures(before: Trial, after: Trial) -> Iterator[Figure]:
    was, now = (
        {model.id: model for model in trial.models if model.ship or model.id == PARENT} for trial in (before, after)
    )
    for each in dict.fromkeys((*was, *now)):
        old = was[each].figures if each in was else {}
        new = now[each].figures if each in now else {}
        for name in dict.fromkeys((*old, *new)):
            yield Figure(model=each, name=name, before=old.get(name), after=new.get(name))
