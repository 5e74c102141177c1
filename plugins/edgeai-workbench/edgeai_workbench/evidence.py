"""``evidence.json`` of a build: what the comparison found, what confirmed it, and on which machine.

The report is rendered from it. ``still`` is the copy that a bundle carries: without times, machine and names of
samples, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Collection, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeai.api import BackendSpec, ConverterSpec
from edgeai.bundle.evidence import (
    EVIDENCE_NAME,
    Candidate,
    Evidence,
    Gate,
    Load,
    Look,
    Machine,
    Time,
    Trial,
    encode_evidence,
)
from edgeai.resolving import Installed
from edgeai_workbench.card import PARENT, Card
from edgeai_workbench.choice_keys import FOLDS
from edgeai_workbench.chosen import Chosen
from edgeai_workbench.comparison import Comparison, Row
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.fronts import TIME, fronts
from edgeai_workbench.judgement import BUNDLED_EVIDENCE
from edgeai_workbench.openings import Opening
from edgeai_workbench.repetition import processor

LATENCY: Final = "max_latency_ratio"
"""The gate that asks for times, which the bundle's copy leaves out."""
_NO_TIMES: Final = "this copy has no times, which differ from run to run"
VALIDATION: Final = "validation"
TEST: Final = "test"
_KEPT_EPOCH: Final = re.compile(r"(?:(?P<step>[^:]+): )?.*\bkept epoch (?P<epoch>\d+)")
_IN_FLOAT: Final = "kept in float: "
"""What compressors and converters begin their notes with."""


def evidence_of(
    card: Card,
    comparison: Comparison,
    *,
    command: str,
    confirmed: Confirmed | None = None,
    openings: Sequence[Opening] = (),
    data: str = "",
    robustness: dict[str, Any] | None = None,
    stress: dict[str, Any] | None = None,
    choice: Chosen | None = None,
    script: str = "",
    left_out: Collection[str] = (),
    refused: str = "",
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
        stress: what is withheld of wrong images, likewise.
        choice: what chose the options of the card's task.
        script: the training script, which was given validation too.
        left_out: artifacts that do not ship, since validation says so.
        refused: why there is no bundle, where no gate of an artifact says so.
    """
    chosen = chosen_by(card, comparison.rows, choice=choice, script=script, left_out=left_out)
    trials = [trial_of(comparison, split=VALIDATION, role="chose", data=data, chosen=chosen)]
    if confirmed is not None:
        trials.append(trial_of(confirmed.comparison, split=TEST, role="confirmed", data=confirmed.opening.data))
    return Evidence(
        model=card.name,
        version=card.version,
        task=card.task.name,
        digest=card.model_digest,
        command=command,
        trials=tuple(trials),
        openings=tuple(look_of(one) for one in openings),
        robustness=robustness,
        stress=msgspec.UNSET if stress is None else stress,
        machine=machine(comparison.load),
        options=_options(card, choice),
        refused=refused,
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
        near=len(comparison.near),
        withheld=comparison.withheld,
    )


def chosen_by(
    card: Card,
    rows: Sequence[Row],
    *,
    choice: Chosen | None = None,
    script: str = "",
    left_out: Collection[str] = (),
) -> tuple[str, ...]:
    """All that validation chose: in this build, for the card's options, and as far as it is known in training."""
    notes = {row.id: row.notes for row in rows}
    searched = [recipe.id for recipe in card.recipes if recipe.max_drop is not None]
    options = {} if choice is None or choice.on == FOLDS else choice.chosen
    return (
        *([f"what {script} took from it for the parent (the epoch, where it stops early)"] if script else []),
        *(f"{name} ({value})" for name, value in options.items()),
        *(tuned for row in rows if row.id == row.variant != PARENT for tuned in _tuned(row)),
        *(f"which layers of {name} stay in float{_named_layers(notes.get(name, ()))}" for name in searched),
        *(["the quantiles by which what ships abstains"] if card.guard.abstention is not None else []),
        *(f"that {name} does not ship" for name in left_out),
    )


def _tuned(row: Row) -> Iterator[str]:
    """What each step of a variant's making kept; that it stopped, where a compressor says no more."""
    kept = [match for note in row.notes if (match := _KEPT_EPOCH.match(note))]
    for match in kept:
        step = f" after {match['step']}" if match["step"] else ""
        yield f"when the fine-tuning of {row.id}{step} stopped (epoch {match['epoch']})"
    if not kept and row.facts.get("epochs"):
        yield f"when the fine-tuning of {row.id} stopped"


def _named_layers(notes: Sequence[str]) -> str:
    kept = [note.removeprefix(_IN_FLOAT) for note in notes if note.startswith(_IN_FLOAT)]
    return f" ({'; '.join(kept)})" if kept else ""


def _options(card: Card, choice: Chosen | None) -> str:
    """What chose the options of the card's task; or that nothing says it."""
    if choice is not None:
        return str(choice)
    named = ", ".join(card.task.options)
    return f"The card has no [choice]: what chose its task's options ({named}) is not recorded" if named else ""


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
                verdicts=tuple(_still_gate(gate) for gate in model.verdicts if gate.gate != LATENCY or model.ship),
            )
            for model in trial.models
        ),
        fronts={cost: names for cost, names in trial.fronts.items() if cost != TIME},
    )


def _still_gate(gate: Gate) -> Gate:
    """A gate on time counts as every other; what was found is of one machine and one hour."""
    if gate.gate != LATENCY:
        return gate
    word = "holds" if gate.holds else "does not hold"
    return msgspec.structs.replace(gate, found=None, says=f"it {word} where it was built; {_NO_TIMES}")


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


def look_of(opening: Opening) -> Look:
    """A look at a test as evidence has it."""
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
