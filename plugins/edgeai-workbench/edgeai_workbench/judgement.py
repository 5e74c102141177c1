"""``verdicts.json``: what a build judged, by which gates, and that packing goes around none of it.

A verdict is of artifacts behind this very card: with other transforms, or its labels in another order, the same
artifacts say something else. So it is of the card's digests, and of those of what the build told, as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeai.api import GateFailed
from edgeai_workbench.card import Card
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import Verdict, asks_for_samples, hold
from edgeai_workbench.notes import read_note, write_note

JUDGEMENT: Final = "verdicts.json"
BUNDLED_REPORT: Final = "bundle-report.md"
"""The report without times, so that two builds are the same bytes; in the bundle it is REPORT.md."""
BUNDLED_EVIDENCE: Final = "bundle-evidence.json"
"""The evidence likewise; in the bundle it is evidence.json."""
_OLD: Final = (
    *("max_keras_bytes", "max_bundle_bytes", "max_bundle_ratio", "floors", "max_drop"),
    *("min_agreement", "max_size_ratio", "max_latency_ratio"),
)
"""Gates that stand in every ``verdicts.json``; younger ones only where a card asks them."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was judged, by which gates.

    Attributes:
        gates: as the card asked them.
        artifacts: id -> digest of the artifact's files as they were judged.
        verdicts: id -> what came of each gate.
        card: section of the card that decides what is answered or what it is held to -> its digest; empty in a file
            from before it was recorded.
        told: file that ships of what the build told -> its digest; empty likewise.
    """

    gates: dict[str, object]
    artifacts: dict[str, str]
    verdicts: dict[str, tuple[Verdict, ...]]
    card: dict[str, str] = {}
    told: dict[str, str] = {}


def keep_judgement(
    card: Card, folder: Path, digests: Mapping[str, str], verdicts: Mapping[str, Sequence[Verdict]]
) -> None:
    """Write ``verdicts.json``, of the report and evidence that stand in ``folder``."""
    body = Judgement(
        gates=_asked(card),
        artifacts=dict(digests),
        verdicts={artifact: tuple(those) for artifact, those in verdicts.items()},
        card=_sections(card),
        told=_told(folder),
    )
    write_note(folder / JUDGEMENT, body)


def judge_as_told(folder: Path) -> None:
    """The same verdicts, of the same card, of what stands in ``folder`` by now; nothing where nothing was judged."""
    judged = read_note(folder / JUDGEMENT, Judgement)
    if judged is not None and judged.told:
        write_note(folder / JUDGEMENT, msgspec.structs.replace(judged, told=_told(folder)))


def hold_judgement(card: Card, folder: Path, digests: Mapping[str, str]) -> None:
    """Nothing, when these very artifacts were judged behind this very card by these very gates, and all held.

    Raises:
        GateFailed: ``gate.not-judged``, or ``gate.failed``.
    """
    judged = read_note(folder / JUDGEMENT, Judgement)
    if not asks_for_samples(card.gates) and not any(use and use.bounded for use in (card.robustness, card.stress)):
        # Nobody asks for a judgement; where there is one of these very artifacts, what failed does not ship.
        known = judged.artifacts if judged is not None else {}
        hold({name: judged.verdicts.get(name, ()) for name, d in digests.items() if judged and known.get(name) == d})
        return
    same = judged is not None and judged.gates == _asked(card)
    if judged is None or not same or any(judged.artifacts.get(name) != digest for name, digest in digests.items()):
        raise _not_judged("the card's gates were not held against these artifacts")
    if other := _changed(card, folder, judged):
        raise _not_judged(f"{' and '.join(other)} changed after the card's gates were held")
    hold({name: judged.verdicts.get(name, ()) for name in digests})


def is_as_told(card: Card, folder: Path) -> bool:
    """Whether report and evidence are those that the build wrote, of the card as it is."""
    judged = read_note(folder / JUDGEMENT, Judgement)
    return judged is None or not _changed(card, folder, judged)


def _not_judged(why: str) -> GateFailed:
    return GateFailed(why, code="gate.not-judged", remedy="run edgeai build with --data, which evaluates them")


def _changed(card: Card, folder: Path, judged: Judgement) -> list[str]:
    """What is not as it was judged, in words."""
    sections = [f"[{name}] of the card" for name, was in judged.card.items() if _sections(card).get(name) != was]
    return sections + [name for name, was in judged.told.items() if _told(folder).get(name) != was]


def _sections(card: Card) -> dict[str, str]:
    """Digests of what decides the answers, and of which samples they are held to."""
    parts: dict[str, Any] = card.for_manifest()
    if card.guard.standing is not None:
        parts["guard.model"] = card.guard.standing
    if card.dataset is not None:
        parts["dataset"] = card.dataset.model_dump(mode="json", exclude={"credit"}, exclude_defaults=True)
    return {name: _digest(msgspec.json.encode(part, order="sorted")) for name, part in parts.items()}


def _told(folder: Path) -> dict[str, str]:
    paths = (folder / name for name in (BUNDLED_EVIDENCE, BUNDLED_REPORT))
    return {path.name: _digest(path.read_bytes()) for path in paths if path.is_file()}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _asked(card: Card) -> dict[str, object]:
    """All that the card bounds, as ``verdicts.json`` has it."""
    tables = {"robustness": card.robustness, "stress": card.stress}
    bounded = {name: use.model_dump(mode="json") for name, use in tables.items() if use is not None and use.bounded}
    return {**_plain(card.gates), **bounded}


def _plain(gates: Gates) -> dict[str, object]:
    """The gates as ``verdicts.json`` has them; what younger kinds of gates do not ask is left out of old files."""
    body: dict[str, Any] = gates.model_dump()
    untouched = Gates().model_dump()
    return {name: bound for name, bound in body.items() if name in _OLD or bound != untouched[name]}
