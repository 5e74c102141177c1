"""Gates: the bounds of a card, held against what was measured of each artifact that ships.

A drop counts by the upper end of its paired interval: what cannot be shown to be small is not taken to be small.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from edgeai.api import HIGHER, LOWER, ConfigError, GateFailed
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.spread import NO_SPREAD, NOTHING_BY_NONE
from edgeai_workbench.statistics.decided import FEWEST_OF_AREA, needed_to_show

FLOORS: Final = ("floors", "shown_floors", "worst_floors")
CEILINGS: Final = ("ceilings", "shown_ceilings", "worst_ceilings")
BY_METRIC: Final = (*FLOORS, *CEILINGS, "max_drop", "max_drop_own")
"""Gates that bound metrics by name."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bound, and what was found.

    Attributes:
        gate: the key of the card: ``max_drop.auc_roc``.
        says: why it cannot hold, where that is not the number: samples too few to show it.
    """

    gate: str
    bound: float
    found: float
    holds: bool
    says: str = ""

    @property
    def is_least(self) -> bool:
        """Whether the bound is the least that may be found, or the most."""
        return self.gate.startswith((*FLOORS, "min_"))

    def __str__(self) -> str:
        comparison = "at least" if self.is_least else "at most"
        more = f" ({self.says})" if self.says else ""
        return f"{self.gate}: {self.found:.4g}, to be {comparison} {self.bound:.4g}{more}"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What gates look at, of one artifact.

    Attributes:
        values: metric -> its value.
        better: metric -> ``higher`` or ``lower``.
        drops: metric -> upper end of the 95 % interval of parent minus artifact.
        own_drops: the same against its own Keras model.
        parts: subgroup or label -> metric -> its value there.
        members: subgroup -> how many samples are of it.
        ends: metric -> both ends of its 95 % interval.
        decisions: metric -> upper end of the interval of parent minus artifact, as ``[gates.decision]`` counts it.
        counted: metric of ``decisions`` -> independent samples that it is a share of; absent where it is none.
        undefined: metric that the task has -> why these samples do not determine it.
        flat: ``figure``, ``max_drop``, ``max_drop_own``, ``decision`` -> metrics whose interval has no length.
        agreement: share of samples that it decides as the parent does.
        size_ratio: its bytes / those of the ``.keras`` file.
        latency_ratio: its median time / the reference's.
        withheld: upper end of the 95 % interval of the share of proper images that is withheld.
    """

    values: Mapping[str, float]
    drops: Mapping[str, float]
    agreement: float
    size_ratio: float
    latency_ratio: float
    better: Mapping[str, str] = {}
    own_drops: Mapping[str, float] = {}
    parts: Mapping[str, Mapping[str, float]] = {}
    members: Mapping[str, int] = {}
    ends: Mapping[str, tuple[float, float]] = {}
    decisions: Mapping[str, float] = {}
    counted: Mapping[str, int] = {}
    undefined: Mapping[str, str] = {}
    flat: Mapping[str, Collection[str]] = {}
    withheld: float = math.nan


def judge(gates: Gates, measured: Measured) -> tuple[Verdict, ...]:
    """Every bound of the card that asks for samples, in the card's order.

    Raises:
        ConfigError: ``config.card-metric-unknown``: a bound on a metric that the task does not have;
            ``config.card-gate-direction``: a floor of what is better low, or a ceiling of what is better high.
    """
    for what, wrong in (*((name, LOWER) for name in FLOORS), *((name, HIGHER) for name in CEILINGS)):
        hold_direction(what, getattr(gates, what), wrong, measured.better)
    values, drops, own, known = measured.values, measured.drops, measured.own_drops, partial(_value, measured)
    verdicts = [
        *(_least(f"floors.{m}", bound, known(values, m, "floors")) for m, bound in gates.floors.items()),
        *(_most(f"ceilings.{m}", bound, known(values, m, "ceilings")) for m, bound in gates.ceilings.items()),
        *(_shown("shown_floors", m, bound, measured) for m, bound in gates.shown_floors.items()),
        *(_shown("shown_ceilings", m, bound, measured) for m, bound in gates.shown_ceilings.items()),
        *(_most(f"max_drop.{m}", bound, known(drops, m, "max_drop")) for m, bound in gates.max_drop.items()),
        *(_most(f"max_drop_own.{m}", bound, known(own, m, "max_drop_own")) for m, bound in gates.max_drop_own.items()),
        *(_in_worst("worst_floors", m, bound, measured, gates) for m, bound in gates.worst_floors.items()),
        *(_in_worst("worst_ceilings", m, bound, measured, gates) for m, bound in gates.worst_ceilings.items()),
        *(_decided(metric, margin, measured) for metric, margin in margins_of(gates).items()),
    ]
    if gates.min_agreement is not None:
        verdicts.append(_least("min_agreement", gates.min_agreement, measured.agreement))
    if gates.max_size_ratio is not None:
        verdicts.append(_most("max_size_ratio", gates.max_size_ratio, measured.size_ratio))
    if gates.max_latency_ratio is not None:
        verdicts.append(_most("max_latency_ratio", gates.max_latency_ratio, measured.latency_ratio))
    if gates.max_withheld is not None:
        verdicts.append(_most("max_withheld", gates.max_withheld, measured.withheld))
    return tuple(_without_spread(_explained(verdict, measured), measured) for verdict in verdicts)


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


def hold_size(most: int | None, size: int, what: str) -> None:
    """Nothing, when ``found`` bytes are allowed.

    Raises:
        GateFailed: ``gate.too-large``.
    """
    if most is not None and size > most:
        raise GateFailed(f"{what} has {size} bytes, the card allows {most}", code="gate.too-large")


def hold_bundle(gates: Gates, bundle: Path, parent_bytes: int) -> None:
    """Nothing, when the bundle is as small as the gates want it.

    Raises:
        GateFailed: ``gate.too-large``.
    """
    size = bundle.stat().st_size
    hold_size(gates.max_bundle_bytes, size, bundle.name)
    if gates.max_bundle_ratio is not None and size > gates.max_bundle_ratio * parent_bytes:
        raise GateFailed(
            f"{bundle.name} has {size} bytes, {size / parent_bytes:.3g} of its Keras parent's {parent_bytes}; "
            f"the card allows {gates.max_bundle_ratio:g}",
            code="gate.too-large",
        )


def margins_of(gates: Gates) -> Mapping[str, float]:
    """Metric -> by how much a decision may be worse than the parent's."""
    return {} if gates.decision is None else gates.decision.margins


def metrics_of(gates: Gates) -> list[str]:
    """Every metric, or operating point, that a bound names."""
    return [metric for name in BY_METRIC for metric in getattr(gates, name)] + list(margins_of(gates))


def asks_for_samples(gates: Gates) -> bool:
    """Whether any bound can be judged only with data."""
    ratios = (gates.min_agreement, gates.max_size_ratio, gates.max_latency_ratio, gates.max_withheld)
    return bool(metrics_of(gates)) or any(bound is not None for bound in ratios)


def digest_of_folder(folder: Path) -> str:
    """``sha256:<hex>`` over the names and bytes of all files below."""
    total = hashlib.sha256()
    for path in sorted(_files(folder)):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _value(measured: Measured, values: Mapping[str, float], metric: str, gate: str) -> float:
    """NaN, which holds no bound, where the task has the metric and these samples do not determine it."""
    if metric in values:
        return values[metric]
    if metric in measured.undefined:
        return math.nan
    raise ConfigError(
        f"[gates] {gate}: the task has no metric {metric}",
        code="config.card-metric-unknown",
        remedy=f"use one of {', '.join(sorted({*measured.values, *measured.undefined}))}",
    )


def _explained(verdict: Verdict, measured: Measured) -> Verdict:
    """Why a metric has no value, where that is why the gate does not hold."""
    why = measured.undefined.get(verdict.gate.partition(".")[2], "")
    if not why or verdict.says or not math.isnan(verdict.found):
        return verdict
    return msgspec.structs.replace(verdict, says=f"these samples do not determine it: {why}")


def _without_spread(verdict: Verdict, measured: Measured) -> Verdict:
    """An interval without length says what these samples do, and nothing of what others may.

    It shows no floor and no ceiling; and of a fall that no sample has, only that it is less than what is allowed.
    """
    gate, _, metric = verdict.gate.partition(".")
    if gate in ("shown_floors", "shown_ceilings") and metric in measured.flat.get("figure", ()):
        return msgspec.structs.replace(verdict, holds=False, says=NO_SPREAD)
    if metric in measured.flat.get(gate, ()) and verdict.found == verdict.bound:
        return msgspec.structs.replace(verdict, holds=False, says=f"{NO_SPREAD}: {NOTHING_BY_NONE}")
    return verdict


def _shown(gate: str, metric: str, bound: float, measured: Measured) -> Verdict:
    """By the end of the interval: the value alone may be luck."""
    _value(measured, measured.values, metric, gate)
    floor = gate in FLOORS
    value = measured.ends.get(metric, (math.nan, math.nan))[0 if floor else 1]
    verdict = (_least if floor else _most)(f"{gate}.{metric}", bound, value)
    return msgspec.structs.replace(verdict, says="these samples give it no interval") if math.isnan(value) else verdict


def _decided(metric: str, margin: float, measured: Measured) -> Verdict:
    """What cannot be shown to be within the margin is not taken to be; and how many samples could show it."""
    _value(measured, {**measured.values, **measured.decisions}, metric, "decision")
    verdict = _most(f"decision.{metric}", margin, measured.decisions.get(metric, math.nan))
    count, least = measured.counted.get(metric, 0), needed_to_show(margin)
    if count and margin >= 1:
        return msgspec.structs.replace(verdict, holds=False, says="a share falls by 1 at most, so this asks nothing")
    if math.isnan(verdict.found):
        few = f"of {count} samples of the rarer class: areas of {FEWEST_OF_AREA} at least can be told apart"
        return msgspec.structs.replace(verdict, says=few if count else "these samples give it no interval")
    if verdict.holds or not count or count >= least:
        return verdict
    wanted = "no number can show it" if math.isinf(least) else f"at least {least:.0f} are needed"
    return msgspec.structs.replace(
        verdict, says=f"of {count} samples: even where both decide all of them alike, {wanted}"
    )


def _in_worst(gate: str, metric: str, bound: float, measured: Measured, gates: Gates) -> Verdict:
    """Of every subgroup and label that determines the metric, the one that is nearest to failing, by its name.

    Where there are no parts, all samples are the one that there is. A subgroup of few members shows nothing, whatever
    its value, and so the gate does not hold.
    """
    everywhere = {"all": measured.values, **measured.parts}
    by_part = {part: values[metric] for part, values in everywhere.items() if metric in values}
    if not by_part:
        return _shown_by_none(gate, metric, bound, measured)
    lowest = gate == "worst_floors"
    sign = 1.0 if lowest else -1.0
    few = {part: count for part in by_part if (count := measured.members.get(part, math.inf)) < gates.min_members}

    def rank(name: str) -> tuple[bool, bool, float]:
        good = by_part[name] >= bound if lowest else by_part[name] <= bound
        return good and name not in few, not math.isnan(by_part[name]), sign * by_part[name]

    part = min(by_part, key=rank)
    named = f"{gate}.{metric} ({part})"
    verdict = _least(named, bound, by_part[part]) if lowest else _most(named, bound, by_part[part])
    if part not in few:
        return verdict
    told = f"of {few[part]} samples, fewer than min_members, which is {gates.min_members}"
    return msgspec.structs.replace(verdict, holds=False, says=told)


def _shown_by_none(gate: str, metric: str, bound: float, measured: Measured) -> Verdict:
    """The worst of no part: the metric is the task's, and no samples determine it."""
    verdict = _least if gate == "worst_floors" else _most
    return verdict(f"{gate}.{metric}", bound, _value(measured, {}, metric, gate))


def hold_direction(what: str, bounds: Iterable[str], wrong: str, better: Mapping[str, str]) -> None:
    """Nothing, where none is better the wrong way. Raises ``ConfigError`` (``config.card-gate-direction``)."""
    for metric in bounds:
        if better.get(metric) == wrong:
            right = what.replace("floors", "ceilings") if "floors" in what else what.replace("ceilings", "floors")
            raise ConfigError(
                f"[gates] {what}: {metric} is better {wrong}, so that the bad ones would pass",
                code="config.card-gate-direction",
                remedy=f"bound it in {right}",
            )


def _least(gate: str, bound: float, value: float) -> Verdict:
    return Verdict(gate=gate, bound=bound, found=value, holds=value >= bound)


def _most(gate: str, bound: float, value: float) -> Verdict:
    return Verdict(gate=gate, bound=bound, found=value, holds=value <= bound)
