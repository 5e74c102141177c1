"""The plan of a rollout: from an offer, a file and a few words; in sentences; counted over devices."""

from __future__ import annotations

import csv
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Facts, Plan, Rollout, phase_of, place
from edgeai.rollouts.turns import not_selected
from edgeai_fleet.conducting.judging import LATE_S
from edgeai_fleet.offering import Listed
from edgeai_fleet.spans import span

USUAL_PERCENT: Final = (1.0, 10.0, 50.0, 100.0)
USUAL_SOAK_H: Final = 24.0
_FROM_OFFER: Final = ("model", "release", "digest")
_LABEL: Final = "label."
CART: Final = re.compile("[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
"""``site/device``, as profiles have them."""


def plan_of(offer: Listed, file: Path | None, percent: Sequence[float], soak_h: float) -> Plan:
    """The plan for a bundle that is offered.

    Args:
        offer: of the bundle.
        file: TOML with whatever a plan has beside the bundle; none for a plan of phases alone.
        percent: of devices, rising; in the place of the file's phases, where there are any.
        soak_h: hours for which each of these stays open before the next.

    Raises:
        ConfigError: ``fleet.plan``.
    """
    body: dict[str, Any] = {}
    if file is not None:
        try:
            body = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _wrong(file, getattr(error, "strerror", None) or str(error)) from error
        if own := sorted(set(body) & set(_FROM_OFFER)):
            raise _wrong(file, f"{own[0]}: it is the offer's to say")
        if mistake := next(_meant_otherwise(body), ""):
            raise _wrong(file, mistake)
    if percent or "phases" not in body:
        shares = percent or USUAL_PERCENT
        body["phases"] = [{"share": each / 100, "soak_s": soak_h * 3600} for each in shares]
    body |= {"model": offer.name, "release": offer.release, "digest": offer.digest}
    try:
        return msgspec.convert(body, Plan, strict=True)
    except msgspec.ValidationError as error:
        raise _wrong(file, str(error)) from error


def _meant_otherwise(body: dict[str, Any]) -> Iterator[str]:
    """What can be read, and takes in everybody or nobody where somebody was meant."""
    select = body.get("select")
    select = select if isinstance(select, dict) else {}
    labels = select.get("labels")
    lists = {"replaces": body.get("replaces"), "windows": body.get("windows")}
    lists |= {f"select.{name}": value for name, value in select.items()}
    lists |= {f"select.labels.{name}": value for name, value in (labels if isinstance(labels, dict) else {}).items()}
    for name, value in lists.items():
        if value in ([], {}):
            yield f"{name}: it is empty, and asks nothing; name whom you mean, or leave it out to mean all"
    devices = select.get("devices")
    for device in devices if isinstance(devices, list) else ():
        if isinstance(device, str) and not CART.fullmatch(device):
            yield f"select.devices: {device!r} is no cart; give SITE/DEVICE, as in its profile"


def in_words(rollout: Rollout) -> Iterator[str]:
    """All of a rollout that whoever signs it has to know, a line each."""
    plan = rollout.plan
    yield f"{rollout.name}: {plan.model} release {plan.release}, {plan.digest}"
    yield f"  state      {rollout.state}, phase {rollout.open} of {len(plan.phases)} open, serial {rollout.serial}"
    if rollout.why:
        yield f"  because    {rollout.why}"
    for label, value in _asked(plan):
        yield f"  {label:<10} {value}"
    for number, phase in enumerate(plan.phases, 1):
        soak = f", at least {span(phase.soak_s)}" if phase.soak_s else ""
        yield f"  phase {number}    {100 * phase.share:g} %{soak}{', by approval' if phase.approval else ''}"
    halting = plan.halting
    yield (
        f"  halts      at {halting.least} or more failed devices, where they are over {100 * halting.failures:g} %; "
        f"silent for {span(halting.silent_s)} is failed{_but_connected(halting.silent_s)}"
    )
    yield "  undecided  is who runs it and has no images: neither failed nor proven"
    yield f"  plan       {plan.fingerprint}"


def _but_connected(silent_s: float) -> str:
    """A connected cart says its status now and then: it is silent after some of those at the earliest."""
    return f" ({span(LATE_S)}, where it is connected)" if silent_s < LATE_S else ""


def _asked(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.note:
        yield "note", plan.note
    if plan.replaces:
        yield "replaces", ", ".join(plan.replaces)
    for name, value in plan.select.told().items():
        yield "only for", f"{name} {_listed(value)}"
    for window in plan.windows:
        yield "window", str(window)
    if plan.needs.shadow is not None:
        shadow = plan.needs.shadow
        yield "needs", f"a shadow that agrees on {100 * shadow.agreement:g} % within {shadow.images} images"
    if plan.needs.acceptance:
        yield "needs", "the site's own acceptance report"
    if plan.approve_resuming:
        yield "needs", "an approval to go on after a halt"


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_listed(each)}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Of a list of devices: how many are in each phase, for the first time and with those before; who is not meant."""

    devices: int
    new: tuple[int, ...]
    left_out: dict[str, int]


def counted(rollout: Rollout, devices: Sequence[Facts]) -> Count:
    """How many of these devices take it in which phase, as their places fall."""
    plan, new, left_out = rollout.plan, [0] * len(rollout.plan.phases), Counter[str]()
    for facts in devices:
        number = phase_of(place(rollout.name, facts.site, facts.device), plan.phases)
        if unfit := not_selected(plan.select, facts):
            left_out[unfit] += 1
        elif plan.replaces and facts.digest and facts.digest not in plan.replaces:
            left_out["another bundle runs there"] += 1
        elif number is None:
            left_out["behind the last phase"] += 1
        else:
            new[number - 1] += 1
    return Count(devices=len(devices), new=tuple(new), left_out=dict(left_out.most_common()))


def read_devices(path: Path, model: str) -> list[Facts]:
    """A list of devices: CSV with ``site`` and ``device``, and as far as known ``edgeai``, ``machine``, ``backends``
    (spaces between), ``digest`` of what runs, and ``label.NAME`` for each label.

    Raises:
        ConfigError: ``fleet.devices``.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    devices = [_facts(path, number, row, model) for number, row in enumerate(rows, 2)]
    if not devices:
        raise _unreadable(path, "it names no device")
    twice = [name for name, count in Counter((each.site, each.device) for each in devices).items() if count > 1]
    if twice:
        raise _unreadable(path, f"{'/'.join(twice[0])} is there twice")
    return devices


def _facts(path: Path, number: int, row: dict[str, Any], model: str) -> Facts:
    if not (row.get("site") and row.get("device")) or None in row:
        raise _unreadable(path, f"line {number} has no site and device, or more fields than the first line")
    known = {name: value for name, value in row.items() if value}
    return Facts(
        site=known["site"],
        device=known["device"],
        edgeai=known.get("edgeai", ""),
        machine=known.get("machine", ""),
        backends=frozenset(known.get("backends", "").split()),
        labels={name.removeprefix(_LABEL): value for name, value in known.items() if name.startswith(_LABEL)},
        model=model,
        digest=known.get("digest", ""),
    )


def _wrong(file: Path | None, why: str) -> ConfigError:
    where = f"{file}: " if file is not None else ""
    return ConfigError(
        f"{where}this is no plan of a rollout: {why}",
        code="fleet.plan",
        remedy="docs/guides/rollouts.md has one of every key; edgeai/schemas/rollout-1.json its schema",
    )


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be used as a list of devices: {why}",
        code="fleet.devices",
        remedy="give CSV whose first line is site,device and what is known of edgeai,machine,backends,digest,label.X",
    )
