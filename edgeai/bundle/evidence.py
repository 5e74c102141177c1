"""``evidence.json``: what was measured of a model, on which data, how surely, and what was then decided.

The report is rendered from it, the bill of materials takes its figures from it, and a bundle carries it. The copy in a
bundle leaves out what differs from run to run (times, machine, names of samples), so that two builds of the same inputs
stay byte-identical. Numbers that samples do not determine are ``null``. A reader ignores keys that it does not know:
within a schema keys are only added.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from edgeai.bundle.manifest import EVIDENCE_NAME

__all__ = ["EVIDENCE_NAME", "Evidence", "decode_evidence", "encode_evidence"]

EVIDENCE_SCHEMA: Final = 1
MAX_EVIDENCE_BYTES: Final = 8 * 1024 * 1024


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every part of the evidence is: immutable, by keyword, open to keys of a newer edgeai."""


class Estimate(Record, frozen=True, kw_only=True):
    """A figure with its 95 % interval, found by ``method``; ``unit`` is empty for a share."""

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    better: str = "higher"
    method: str = ""


class Gate(Record, frozen=True, kw_only=True):
    """A bound of the card (``at`` least or most so much), what was found, and whether it holds.

    ``says`` is why it cannot hold, where that is not the number: samples too few to show it.
    """

    gate: str
    bound: float | None
    found: float | None
    holds: bool
    at: Literal["least", "most"] = "most"
    says: str = ""

    def __str__(self) -> str:
        """What a person reads."""
        wanted = f"to be at {self.at} {_number(self.bound)}"
        if self.found is None and self.says:
            return f"{self.gate}: {wanted}; {self.says}"
        more = f" ({self.says})" if self.says else ""
        return f"{self.gate}: {_number(self.found)}, {wanted}{more}"


class Bin(Record, frozen=True, kw_only=True):
    """``samples`` answers of about this probability (``said``), and the share of them that was true (``happened``)."""

    said: float
    happened: float
    samples: int


class Reliability(Record, frozen=True, kw_only=True):
    """How far probabilities are what happens; ``error`` is the expected calibration error.

    ``name`` says of which probabilities: as they are stated, or before the temperature.
    """

    name: str
    error: float | None
    bins: tuple[Bin, ...] = ()


class Step(Record, frozen=True, kw_only=True):
    """What a model was after one step of its making: the parent, a compressor, a converter.

    ``operations`` are floating-point operations of one inference, two a multiply-accumulate.
    """

    name: str
    bytes: int
    parameters: int | None = None
    operations: int | None = None


class Time(Record, frozen=True, kw_only=True):
    """Milliseconds of one inference on one thread: the median, and the 5th and 95th of a hundred turns.

    ``ratio`` is the time of the reference divided by this one: above 1 is faster.
    """

    median_ms: float
    low_ms: float | None
    high_ms: float | None
    ratio: float


class Candidate(Record, frozen=True, kw_only=True):
    """One model on one engine.

    ``id`` is ``parent``, a variant's name or an artifact's id; ``digest`` is of its file or files. ``drops`` are the
    parent's figures minus its own on the same samples, ``own_drops`` those of its own Keras model minus its own,
    ``decisions`` the parent's minus its own where only decisions that differ count.
    ``parts`` are its figures by subgroup and label. ``agreement`` is the share of samples decided as the parent does,
    ``otherwise`` names some of the others. ``worst`` is the greatest difference from its own Keras model on the golden
    cases. ``undefined`` says why a figure is not there. ``ended`` counts, by code, the samples of which its task makes
    no statement; absent where it makes one of all.
    """

    id: str
    backend: str
    device: str
    precision: str
    variant: str = ""
    digest: str = ""
    bytes: int | None = None
    size_ratio: float | None = None
    ship: bool = False
    figures: dict[str, Estimate] = {}
    undefined: dict[str, str] = {}
    drops: dict[str, Estimate] = {}
    own_drops: dict[str, Estimate] = {}
    decisions: dict[str, Estimate] = {}
    parts: dict[str, dict[str, Estimate]] = {}
    agreement: float | None = None
    verdicts: tuple[Gate, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    worst: float | None = None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    facts: dict[str, float | None] = {}
    layers: dict[str, float | None] = {}
    otherwise: tuple[str, ...] = ()
    ended: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    time: Time | None = None


class Trial(Record, frozen=True, kw_only=True):
    """One split, and what each model said of it.

    ``role``: it ``chose`` (and judged), it ``confirmed`` what was chosen, or it ``judged`` a finished model. ``chosen``
    says what was chosen by it. ``units`` are what resamples draw: samples, or the fewer groups that they belong to.
    ``data`` is the digest of pixels and truth. ``part_samples`` counts the samples of each subgroup. ``reference`` is
    the model that times are held against; ``fronts`` names, by cost, the models that no other beats in both.
    ``near`` counts its images that are one of train's, but for how they are stored. ``withheld`` counts, by code, those
    that the guard keeps from the model (figures are of all the same); ``null`` where it was not asked.
    """

    split: str
    role: Literal["chose", "confirmed", "judged"]
    samples: int
    units: int
    main: str
    models: tuple[Candidate, ...]
    data: str = ""
    chosen: tuple[str, ...] = ()
    constant: bool = False
    part_samples: dict[str, int] = {}
    reference: str = ""
    fronts: dict[str, tuple[str, ...]] = {}
    near: int = 0
    withheld: dict[str, int] | None = None


class Look(Record, frozen=True, kw_only=True):
    """One opening of a test: of which data, for which model and artifacts, and how often these data were before."""

    data: str
    model: str
    artifacts: dict[str, str]
    date: str
    before: int


class Load(Record, frozen=True, kw_only=True):
    """How busy the machine was while times were taken.

    ``share`` is the part of that time in which this process ran; ``others`` is how many of the ``processors`` other
    programmes kept busy. ``null`` where the system does not say.
    """

    processors: int
    share: float | None
    others: float | None = None


class Machine(Record, frozen=True, kw_only=True):
    """Where it was measured, with which engines; ``load`` where times were taken."""

    system: str
    processor: str
    engines: dict[str, str] = {}
    load: Load | None = None


class Evidence(Record, frozen=True, kw_only=True):
    """All that was measured of one version of a model.

    ``digest`` is of the Keras parent, or of the bundle where a finished one was judged. ``openings`` are all looks at a
    test, in order. ``robustness`` is what spoilt images did (a row a kind and model) and how far other data may differ,
    where that was asked. ``stress`` is what is withheld of wrong images (a row a kind and artifact); absent where
    nobody asked. ``machine`` is absent in a bundle's copy. ``options`` says what chose the options of its task
    (temperature, thresholds). ``refused`` is why there is no bundle, where no gate of an artifact says so.
    """

    schema: int = EVIDENCE_SCHEMA
    model: str
    version: str
    task: str
    digest: str
    trials: tuple[Trial, ...]
    openings: tuple[Look, ...] = ()
    robustness: dict[str, Any] | None = None
    stress: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    command: str = ""
    machine: Machine | None = None
    options: str = ""
    refused: str = ""

    def of(self, split: str) -> Trial | None:
        """What was measured on a split."""
        return next((trial for trial in self.trials if trial.split == split), None)


def encode_evidence(evidence: Evidence) -> bytes:
    """Keys sorted, a line each: the same evidence, the same bytes."""
    return msgspec.json.format(msgspec.json.encode(evidence, order="sorted"), indent=1) + b"\n"


def decode_evidence(data: bytes) -> Evidence:
    """The evidence of a bundle.

    Raises:
        ValueError: it is none that this edgeai reads, and why.
    """
    try:
        evidence = msgspec.json.decode(data, type=Evidence)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if evidence.schema != EVIDENCE_SCHEMA:
        raise ValueError(f"it has schema {evidence.schema}, and schema {EVIDENCE_SCHEMA} is read")
    return evidence


def _number(value: float | None) -> str:
    return "nothing that these samples determine" if value is None else f"{value:.4g}"
