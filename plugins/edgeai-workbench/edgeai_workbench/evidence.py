"""``evidence.json`` of a build: what the comparison found, what confirmed it, and on which machine.

The report is rendered from it. ``still`` is the copy that a bundle carries: without times, machine and names of
samples, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeai.api import BackendSpec, ConverterSpec
from edgeai.bundle.evidence import (
    EVIDENCE_NAME,
    Candidate,
    Evidence,
    Load,
    Look,
    Machine,
    Time,
    Trial,
    encode_evidence,
)
from edgeai.resolving import Installed
from edgeai_workbench.card import Card
from edgeai_workbench.comparison import Comparison, Row
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.fronts import TIME, fronts
from edgeai_workbench.openings import Opening
from edgeai_workbench.pack import BUNDLED_EVIDENCE
from edgeai_workbench.repetition import processor

LATENCY: Final = "max_latency_ratio"
"""The gate that asks for times, which the bundle's copy leaves out."""
VALIDATION: Final = "validation"
TEST: Final = "test"


def evidence_of(
    card: Card,
    comparison: Comparison,
    *,
    command: str,
    confirmed: Confirmed | None = None,
    openings: Sequence[Opening] = (),
    data: str = "",
    robustness: dict[str, Any] | None = None,
) -> Evidence:
    """All that a build measured.

    Args:
        card: the model's.
        comparison: of everything that was made, on validation.
        command: what the report says it was made by.
        confirmed: what ships, on the test.
        openings: all looks at a test.
        data: digest of the validation's pixels and truth.
        robustness: what spoilt images did, in plain values.
    """
    trials = [
        trial_of(comparison, split=VALIDATION, role="chose", data=data, chosen=chosen_by(card, comparison.rows)),
    ]
    if confirmed is not None:
        trials.append(trial_of(confirmed.comparison, split=TEST, role="confirmed", data=confirmed.opening.data))
    return Evidence(
        model=card.name,
        version=card.version,
        task=card.task.name,
        digest=card.model_digest,
        command=command,
        trials=tuple(trials),
        openings=tuple(_look(one) for one in openings),
        robustness=robustness,
        machine=machine(comparison.load),
    )


def trial_of(comparison: Comparison, *, split: str, role: str, data: str, chosen: Sequence[str] = ()) -> Trial:
    """One split: what a comparison found on it."""
    models = tuple(_candidate(row) for row in comparison.rows)
    return Trial(
        split=split,
        role=role,  # type: ignore[arg-type]
        samples=comparison.samples,
        units=comparison.units or comparison.samples,
        data=data,
        chosen=tuple(chosen),
        main=comparison.main,
        models=models,
        constant=comparison.constant,
        part_samples=dict(comparison.rows[0].members),
        reference=comparison.reference,
        fronts=fronts(models, comparison.main),
    )


def chosen_by(card: Card, rows: Sequence[Row]) -> tuple[str, ...]:
    """What validation chose in this build, as far as the build knows: training has its own script."""
    tuned = [row.id for row in rows if row.id == row.variant and row.facts.get("epochs")]
    searched = [recipe.id for recipe in card.recipes if recipe.max_drop is not None]
    return (
        *(f"when the fine-tuning of {name} stopped" for name in tuned),
        *(f"which layers of {name} stay in float" for name in searched),
    )


def machine(load: Load | None) -> Machine:
    """This machine, and the engines that are installed."""
    return Machine(
        system=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        processor=processor(),
        engines=_engines(),
        load=load,
    )


def still(evidence: Evidence) -> Evidence:
    """The same without what differs from run to run, and without the names of samples, which are nobody else's."""
    return msgspec.structs.replace(
        evidence, machine=None, trials=tuple(_still_trial(trial) for trial in evidence.trials)
    )


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """``evidence.json`` in a folder, and the copy for the bundle beside it."""
    (folder / EVIDENCE_NAME).write_bytes(encode_evidence(evidence))
    (folder / BUNDLED_EVIDENCE).write_bytes(encode_evidence(still(evidence)))


def _still_trial(trial: Trial) -> Trial:
    return msgspec.structs.replace(
        trial,
        models=tuple(
            msgspec.structs.replace(
                model,
                time=None,
                otherwise=(),
                verdicts=tuple(verdict for verdict in model.verdicts if verdict.gate != LATENCY),
            )
            for model in trial.models
        ),
        fronts={cost: names for cost, names in trial.fronts.items() if cost != TIME},
    )


def _candidate(row: Row) -> Candidate:
    """A row by its own names; what samples do not determine (NaN) becomes ``None`` on the way through JSON."""
    common = msgspec.json.decode(msgspec.json.encode(row), type=Candidate)
    taken = msgspec.json.decode(
        msgspec.json.encode(
            {"median_ms": row.ms, "low_ms": row.ms_low, "high_ms": row.ms_high, "ratio": row.speed_ratio}
        ),
        type=Time,
    )
    gates = zip(common.verdicts, row.verdicts, strict=True)
    verdicts = (msgspec.structs.replace(gate, at="least" if own.is_least else "most") for gate, own in gates)
    return msgspec.structs.replace(common, time=taken, verdicts=tuple(verdicts))


def _look(opening: Opening) -> Look:
    return msgspec.convert(msgspec.to_builtins(opening), Look)


def _engines() -> dict[str, str]:
    """Versions of what the installed engines and converters say that decides their numbers, and of numpy."""
    installed = Installed()
    specs = [spec for kind in ("backend", "converter") for spec, _ in installed.every(kind)]
    named = [name for spec in specs if isinstance(spec, BackendSpec | ConverterSpec) for name in spec.libraries]
    versions = {}
    for name in dict.fromkeys([*named, "numpy"]):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
