"""Gates: the bounds of a card, held against what was measured of each artifact that ships.

A drop counts by the upper end of its paired interval: what cannot be shown to be small is not taken to be small.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from edgeai.api import HIGHER, LOWER, ConfigError, GateFailed
from edgeai_workbench.card import Card, Gates

BY_METRIC: Final = ("floors", "ceilings", "max_drop", "max_drop_own", "worst_floors", "worst_ceilings")
"""Gates that bound metrics by name."""
_YOUNGER: Final = ("ceilings", "max_drop_own", "worst_floors", "worst_ceilings")


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bound, and what was found. ``gate`` is the key of the card: ``max_drop.auc_roc``."""

    gate: str
    bound: float
    found: float
    holds: bool

    def __str__(self) -> str:
        comparison = "at least" if self.gate.startswith(("floors", "worst_floors", "min_")) else "at most"
        return f"{self.gate}: {self.found:.4g}, to be {comparison} {self.bound:.4g}"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What gates look at, of one artifact.

    Attributes:
        values: metric -> its value.
        better: metric -> ``higher`` or ``lower``.
        drops: metric -> upper end of the 95 % interval of parent minus artifact.
        own_drops: the same against its own Keras model.
        parts: subgroup or label -> metric -> its value there.
        agreement: share of samples that it decides as the parent does.
        size_ratio: its bytes / those of the ``.keras`` file.
        latency_ratio: its median time / the reference's.
    """

    values: Mapping[str, float]
    drops: Mapping[str, float]
    agreement: float
    size_ratio: float
    latency_ratio: float
    better: Mapping[str, str] = {}
    own_drops: Mapping[str, float] = {}
    parts: Mapping[str, Mapping[str, float]] = {}


def judge(gates: Gates, measured: Measured) -> tuple[Verdict, ...]:
    """Every bound of the card that asks for samples, in the card's order.

    Raises:
        ConfigError: ``config.card-metric-unknown``: a bound on a metric that the task does not have;
            ``config.card-gate-direction``: a floor of what is better low, or a ceiling of what is better high.
    """
    for what, bounds, wrong in (
        ("floors", gates.floors, LOWER),
        ("ceilings", gates.ceilings, HIGHER),
        ("worst_floors", gates.worst_floors, LOWER),
        ("worst_ceilings", gates.worst_ceilings, HIGHER),
    ):
        _hold_direction(what, bounds, wrong, measured.better)
    verdicts = [
        *(_least(f"floors.{m}", bound, _value(measured.values, m, "floors")) for m, bound in gates.floors.items()),
        *(_most(f"ceilings.{m}", bound, _value(measured.values, m, "ceilings")) for m, bound in gates.ceilings.items()),
        *(_most(f"max_drop.{m}", bound, _value(measured.drops, m, "max_drop")) for m, bound in gates.max_drop.items()),
        *(
            _most(f"max_drop_own.{m}", bound, _value(measured.own_drops, m, "max_drop_own"))
            for m, bound in gates.max_drop_own.items()
        ),
        *(_in_worst("worst_floors", m, bound, measured) for m, bound in gates.worst_floors.items()),
        *(_in_worst("worst_ceilings", m, bound, measured) for m, bound in gates.worst_ceilings.items()),
    ]
    if gates.min_agreement is not None:
        verdicts.append(_least("min_agreement", gates.min_agreement, measured.agreement))
    if gates.max_size_ratio is not None:
        verdicts.append(_most("max_size_ratio", gates.max_size_ratio, measured.size_ratio))
    if gates.max_latency_ratio is not None:
        verdicts.append(_most("max_latency_ratio", gates.max_latency_ratio, measured.latency_ratio))
    return tuple(verdicts)


def hold(verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    """Nothing, when every verdict of every artifact holds.

    Raises:
        GateFailed: ``gate.failed``, naming each that does not.
    """
    failed = [
        f"{artifact}: {verdict}" for artifact, those in verdicts.items() for verdict in those if not verdict.holds
    ]
    if failed:
        raise GateFailed(
            "there is no bundle, since " + "; ".join(failed),
            remedy="read the report; change the recipe or the training, or the card's [gates] and say why",
        )


def hold_size(most: int | None, found: int, what: str) -> None:
    """Nothing, when ``found`` bytes are allowed.

    Raises:
        GateFailed: ``gate.too-large``.
    """
    if most is not None and found > most:
        raise GateFailed(f"{what} has {found} bytes, the card allows {most}", code="gate.too-large")


def hold_bundle(gates: Gates, bundle: Path, parent_bytes: int) -> None:
    """Nothing, when the bundle is as small as the gates want it.

    Raises:
        GateFailed: ``gate.too-large``.
    """
    found = bundle.stat().st_size
    hold_size(gates.max_bundle_bytes, found, bundle.name)
    if gates.max_bundle_ratio is not None and found > gates.max_bundle_ratio * parent_bytes:
        raise GateFailed(
            f"{bundle.name} has {found} bytes, {found / parent_bytes:.3g} of its Keras parent's {parent_bytes}; "
            f"the card allows {gates.max_bundle_ratio:g}",
            code="gate.too-large",
        )


def asks_for_samples(gates: Gates) -> bool:
    """Whether any bound can be judged only with data."""
    ratios = (gates.min_agreement, gates.max_size_ratio, gates.max_latency_ratio)
    return any(getattr(gates, name) for name in BY_METRIC) or any(bound is not None for bound in ratios)


class Judgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``verdicts.json`` in a card's folder: what was judged, by which gates; packing asks for it."""

    gates: dict[str, object]
    artifacts: dict[str, str]
    """Id -> digest of the artifact's files as they were judged."""
    verdicts: dict[str, tuple[Verdict, ...]]


JUDGEMENT = "verdicts.json"


def keep_judgement(
    card: Card, folder: Path, digests: Mapping[str, str], verdicts: Mapping[str, Sequence[Verdict]]
) -> None:
    """Write ``verdicts.json``."""
    body = Judgement(
        gates=_plain(card.gates),
        artifacts=dict(digests),
        verdicts={artifact: tuple(those) for artifact, those in verdicts.items()},
    )
    (folder / JUDGEMENT).write_bytes(msgspec.json.format(msgspec.json.encode(body, order="sorted"), indent=2) + b"\n")


def hold_judgement(card: Card, folder: Path, digests: Mapping[str, str]) -> None:
    """Nothing, when these very artifacts were judged by these very gates, and all held.

    Raises:
        GateFailed: ``gate.not-judged``, or ``gate.failed``.
    """
    try:
        judged = msgspec.json.decode((folder / JUDGEMENT).read_bytes(), type=Judgement)
    except (OSError, msgspec.MsgspecError):
        judged = None
    if not asks_for_samples(card.gates):
        # Nobody asks for a judgement; where there is one of these very artifacts, what failed does not ship.
        known = judged.artifacts if judged is not None else {}
        hold({name: judged.verdicts.get(name, ()) for name, d in digests.items() if judged and known.get(name) == d})
        return
    same = judged is not None and judged.gates == _plain(card.gates)
    if judged is None or not same or any(judged.artifacts.get(name) != digest for name, digest in digests.items()):
        raise GateFailed(
            "the card's gates were not held against these artifacts",
            code="gate.not-judged",
            remedy="run edgeai build with --data, which evaluates them",
        )
    hold({name: judged.verdicts.get(name, ()) for name in digests})


def _plain(gates: Gates) -> dict[str, object]:
    """The gates as ``verdicts.json`` has them; what younger kinds of gates do not ask is left out of old files."""
    body: dict[str, object] = gates.model_dump()
    return {name: bounds for name, bounds in body.items() if bounds or name not in _YOUNGER}


def digest_of_folder(folder: Path) -> str:
    """``sha256:<hex>`` over the names and bytes of all files below."""
    total = hashlib.sha256()
    for path in sorted(_files(folder)):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _value(values: Mapping[str, float], metric: str, gate: str) -> float:
    if metric not in values:
        raise ConfigError(
            f"[gates] {gate}: the task has no metric {metric}",
            code="config.card-metric-unknown",
            remedy=f"use one of {', '.join(sorted(values))}",
        )
    return values[metric]


def _in_worst(gate: str, metric: str, bound: float, measured: Measured) -> Verdict:
    """Of every subgroup and label that determines the metric, the one that is nearest to failing, by its name.

    Where there are no parts, all samples are the one that there is.
    """
    everywhere = {"all": measured.values, **measured.parts}
    found = {part: values[metric] for part, values in everywhere.items() if metric in values}
    _value(measured.values if not found else {metric: 0.0}, metric, gate)
    lowest = gate == "worst_floors"
    sign = 1.0 if lowest else -1.0
    part = min(found, key=lambda name: (not math.isnan(found[name]), sign * found[name]))
    named = f"{gate}.{metric} ({part})"
    return _least(named, bound, found[part]) if lowest else _most(named, bound, found[part])


def _hold_direction(what: str, bounds: Iterable[str], wrong: str, better: Mapping[str, str]) -> None:
    for metric in bounds:
        if better.get(metric) == wrong:
            right = what.replace("floors", "ceilings") if "floors" in what else what.replace("ceilings", "floors")
            raise ConfigError(
                f"[gates] {what}: {metric} is better {wrong}, so that the bad ones would pass",
                code="config.card-gate-direction",
                remedy=f"bound it in {right}",
            )


def _least(gate: str, bound: float, found: float) -> Verdict:
    return Verdict(gate=gate, bound=bound, found=found, holds=found >= bound)


def _most(gate: str, bound: float, found: float) -> Verdict:
    return Verdict(gate=gate, bound=bound, found=found, holds=found <= bound)
