"""All rows of the robustness table, and the simulated hospitals, of models that are open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgeai.api import ConfigError, Frame
from edgeai_workbench.gates import Verdict
from edgeai_workbench.robustness.asking import Asked, Asker, ask, progress_of, spread
from edgeai_workbench.robustness.frames import Distorted, spoilt
from edgeai_workbench.robustness.kinds import PLAIN
from edgeai_workbench.robustness.results import Part, Robustness, Row, Shift
from edgeai_workbench.robustness.settings import RobustnessUse
from edgeai_workbench.robustness.shifts import method_of, shifted_models
from edgeai_workbench.robustness.table import Counted, main_name, row_of

_POSITIONS_KEPT = (
    "positions are not shifted, since the task's judge does not say what is true of a picture that was moved"
)


def measure(
    asker: Asker,
    use: RobustnessUse,
    *,
    split: str,
    seed: int,
    progress: Callable[[str], None] = lambda step: None,
) -> Robustness:
    """Ask every model of the plain images, of each kind of odd ones, and as every simulated hospital has them.

    Args:
        asker: the models, open, with all samples that there are.
        use: what the card asks for.
        split: what the samples are, in a word.
        seed: of all random choices.
        progress: told how far it is, in per cent.

    Raises:
        EdgeaiError: a model fails, and not for being asked of an odd image.
    """
    of = len(asker.samples)
    asker = replace(asker, samples=spread(asker.samples, use.samples))
    hospitals = use.hospitals if asker.known else 0
    told = progress_of(progress, 1 + len(use.rows) + hospitals, len(asker.samples))
    plain = ask(asker, None, told=next(told))
    main = main_name(asker, plain)
    counted = Counted(confident=use.confident, main=main, seed=seed)
    rows = _rows(asker, PLAIN, None, plain, plain, counted)
    for kind in use.rows:
        strength = use.strength(kind)

        def change(frame: Frame, name: str, kind: str = kind, strength: float | None = strength) -> Distorted:
            return spoilt(frame, kind, strength, name=name, seed=seed)

        rows += _rows(asker, kind, strength, ask(asker, change, told=next(told)), plain, counted)
    shift = None
    if hospitals and main:
        moves = asker.moves
        models = shifted_models(
            asker, plain, main, hospitals=hospitals, seed=seed, moves=moves, told=[next(told) for _ in range(hospitals)]
        )
        shift = Shift(
            figure=main,
            hospitals=hospitals,
            models=models,
            method=method_of(hospitals, len(asker.samples), moves=moves),
            literature=use.literature or "",
            why="" if moves else _POSITIONS_KEPT,
        )
    return Robustness(
        split=split,
        samples=len(asker.samples),
        of=of,
        groups=len({sample.group or sample.id for sample in asker.samples}),
        confident=use.confident,
        seed=seed,
        main=main,
        rows=tuple(rows),
        shift=shift,
    )


def verdicts_of(use: RobustnessUse, measured: Robustness, model: str) -> tuple[Verdict, ...]:
    """The card's bounds on odd images, of one model: of what should be high the lower end counts, else the upper.

    Raises:
        ConfigError: ``config.card-robustness``: a bound on what could not be asked.
    """
    rows = {row.kind: row for row in measured.rows if row.model == model}
    verdicts = []
    for name, bound in use.min_right.items():
        low = _bounded("min_right", rows[name], rows[name].right).low
        least = 0.0 if low is None else low
        verdicts.append(Verdict(gate=f"min_right.{name}", bound=bound, found=least, holds=least >= bound))
    for name, bound in use.max_confidently_wrong.items():
        high = _bounded("max_confidently_wrong", rows[name], rows[name].confidently_wrong).high
        most = 1.0 if high is None else high
        verdicts.append(Verdict(gate=f"max_confidently_wrong.{name}", bound=bound, found=most, holds=most <= bound))
    return tuple(verdicts)


def _bounded(key: str, row: Row, part: Part | None) -> Part:
    if part is None:
        raise ConfigError(
            f"[robustness] {key}.{row.kind} cannot be held: {row.why}",
            code="config.card-robustness",
            remedy="leave the bound out, or have the task's judge say it (docs/guides/judges.md)",
        )
    return part


def _rows(asker: Asker, kind: str, strength: float | None, asked: Asked, plain: Asked, counted: Counted) -> list[Row]:
    return [row_of(asker, model, kind, strength, asked, plain, counted) for model in asker.models]
