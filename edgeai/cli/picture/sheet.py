"""What the panel beside the image says of a result, most important first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from edgeai.api.imaging import Frame
from edgeai.api.instances import InstanceRef
from edgeai.api.results import Finding, Measurement, Outcome, Region, Result
from edgeai.cli.picture.column import Column
from edgeai.cli.picture.heat import write_heat
from edgeai.cli.picture.style import (
    AMBER,
    AREAS,
    BODY,
    CORAL,
    DIM,
    FINDING,
    SMALL,
    SOFT,
    STATE,
    STEEL,
    TITLE,
    WHITE,
    Colour,
)
from edgeai.cli.statement import (
    NO_RESULT,
    NOT_NEGATIVE,
    close_calls,
    figure_says,
    header_says,
    how_decided,
    needs_and_has,
    percent_short,
    statement,
    what_to_do,
)
from edgeai.cli.wording import (
    agreements,
    classes,
    code_says,
    disagrees,
    is_boxed,
    percent,
    plane_says,
    rounded,
    value_says,
)

MOST_FINDINGS: Final = 8
_MOST_NOTES: Final = 6
_SAID_BY_FRAMES: Final = "input.frames-sampled"
_COLUMN: Final = 62
_OF_AN_AREA: Final = ("mean probability inside", "a pixel counts from probability")
_OF_A_BOX: Final = ("score", "stated from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the picture shows of the instance.

    Attributes:
        name: of the file.
        frame: that is shown; ``None`` where the image cannot be shown.
        rendered: it as a reader sees it.
        scale: who says how large things are in it.
    """

    name: str
    frame: Frame | None = None
    rendered: Image.Image | None = None
    scale: str = ""

    @property
    def number(self) -> int | None:
        """Of the frame, from 1."""
        return None if self.frame is None else self.frame.number

    @property
    def instance(self) -> InstanceRef | None:
        """What the header says."""
        return None if self.frame is None else self.frame.instance


def shown_findings(result: Result) -> Sequence[Finding]:
    """Those that have a row, what is present first."""
    return classes(result)[:MOST_FINDINGS]


def lettered(result: Result) -> dict[Finding, tuple[str, Colour]]:
    """The letter and the colour of each finding that has a place."""
    placed = [f for f in shown_findings(result) if f.region is not None and f.present]
    return {f: (chr(ord("A") + number), AREAS[number % len(AREAS)]) for number, f in enumerate(placed)}


def write_statement(column: Column, result: Result, shown: Shown) -> None:
    """What was found, how sure, how large; or that there is no result, why, and what to do."""
    if result.outcome is Outcome.COMPLETED:
        _found(column, result, shown)
    else:
        _withheld(column, result)
    if result.guard:
        column.gap(8)
        column.text("Checks", SMALL, DIM, "heading")
    for figure in result.guard:
        column.text(figure_says(figure), SMALL, AMBER if figure.withheld else DIM, "guard")
    notes = [note for note in result.notes if note.code != _SAID_BY_FRAMES]
    if notes:
        column.gap(8)
        column.text("Notes", SMALL, DIM, "heading")
    for note in notes[:_MOST_NOTES]:
        column.text(note.text, SMALL, SOFT, "note")
    if len(notes) > _MOST_NOTES:
        column.text(f"and {len(notes) - _MOST_NOTES} more", SMALL, DIM, "note")


def write_origin(column: Column, result: Result, shown: Shown) -> None:
    """Which image, which model, which engine: what a result is traced by; and, small, how the run ended."""
    column.rule()
    column.line(shown.name, SMALL, SOFT, "file")
    for line in _frames(result, shown):
        column.text(line, SMALL, DIM, "frames")
    if result.outcome is Outcome.COMPLETED:
        column.text(shown.scale, SMALL, DIM, "scale-source")
    model = result.model
    column.text(f"{model.name} {model.version}", SMALL, SOFT, "model")
    if model.signers:
        column.text(f"signed by {', '.join(signer.name for signer in model.signers)}", SMALL, DIM, "signer")
    else:
        column.text("unsigned, or signature not checked", SMALL, AMBER, "signer")
    engine = result.engine
    ran = f"{engine.engine} on {engine.device}, {engine.precision}" if engine else "no engine was asked"
    column.text(f"{ran}; {result.timings_ms.get('total', 0.0):.1f} ms", SMALL, DIM, "engine")
    if result.degraded is not None:
        column.text(f"degraded: wished for {result.degraded.wished}", SMALL, AMBER, "degraded")
        for because in result.degraded.because:
            column.text(because, SMALL, DIM, "degraded")
    column.text(f"result {result.result_id}", STATE, DIM, "result-id")
    code = f": {result.reason.code}" if result.reason else ""
    attempt = f", attempt {result.attempt}" if result.attempt > 1 else ""
    column.text(f"{result.outcome}{code}{attempt}, {_moment(result.created_at)}", STATE, DIM, "state")


# --- findings ---------------------------------------------------------------------------------


def _found(column: Column, result: Result, shown: Shown) -> None:
    stated = statement(result, shown.instance)
    heading = ("DOUBTFUL", AMBER) if stated.doubtful else ("THE MODEL STATES", DIM)
    column.text(heading[0], SMALL, heading[1], "heading")
    column.text(stated.headline, FINDING, AMBER if stated.doubtful else WHITE, "finding")
    for doubt in stated.doubts:
        column.text(doubt, BODY, AMBER, "doubt")
    _agreement(column, result, shown.instance)
    column.gap(10)
    every, listed = classes(result), shown_findings(result)
    close, letters = close_calls(every), lettered(result)
    decided = how_decided(every)
    measured: Sequence[Measurement] = ()
    for finding in listed:
        if finding.region is not None:
            _area(column, finding, letters.get(finding), shown, doubtful=finding in close)
        else:
            again = finding.measurements == measured  # of two labels of one number it is shown once
            once = replace(finding, measurements=()) if again else finding
            _score(column, once, shown, doubtful=finding in close, bound=not decided)
        measured = finding.measurements
    if len(every) > len(listed):
        column.text(f"and {len(every) - len(listed)} more, less probable", SMALL, DIM, "explained")
    if any(finding.region is None and finding.probability is not None for finding in listed):
        how = decided or "Each is stated from its own threshold on, where the mark is."
        column.text(f"Bars: the model's own probability. {how}", SMALL, DIM, "explained")


def _agreement(column: Column, result: Result, instance: InstanceRef | None) -> None:
    for finding in agreements(result):
        if finding.probability is None:
            column.text(
                f"no {header_says(result, finding, instance)} in the header to compare with", BODY, SOFT, "agreement"
            )
        elif not disagrees(finding):
            column.text(f"fits the header: {header_says(result, finding, instance)}", BODY, STEEL, "agreement")


def _score(column: Column, finding: Finding, shown: Shown, *, doubtful: bool, bound: bool) -> None:
    colour = WHITE if finding.present else DIM
    name = finding.label if finding.present else f"{finding.label} (not stated)"
    own = next((one for one in finding.measurements if one.name == finding.label), None)
    score = percent(finding.probability) if finding.probability is not None or own is None else value_says(own)
    column.pair(name, score, BODY, (colour, colour), "label")
    if finding.probability is not None:
        bar = AMBER if doubtful else STEEL if finding.present else DIM
        column.bar(finding.probability, finding.threshold, bar, doubtful=doubtful)
    if bound and finding.threshold is not None:
        column.text(f"stated from {percent_short(finding.threshold)} on", SMALL, DIM, "explained")
    _measured(column, [one for one in finding.measurements if one is not own or finding.probability is not None])
    _remarks(column, finding, shown)


def _area(column: Column, finding: Finding, letter: tuple[str, Colour] | None, shown: Shown, *, doubtful: bool) -> None:
    region = finding.region
    assert region is not None
    if letter is None:
        column.text(f"{finding.label} (not outlined)", BODY, DIM, "label")
    else:
        column.swatch(letter[0], finding.label, BODY, (letter[1], WHITE), "label")
    score, bound = _OF_A_BOX if is_boxed(region) else _OF_AN_AREA
    is_measured = is_boxed(region) and finding.measurements  # its sides say more than the area of the box
    for name, value in _sizes(region) if finding.present and not is_measured else ():
        column.pair(name, value, SMALL, (DIM, WHITE), "size", indent=26)
    if finding.probability is not None:
        colour = AMBER if doubtful else WHITE
        column.pair(score, percent(finding.probability), SMALL, (DIM, colour), "size", indent=26)
    if finding.threshold is not None:
        column.pair(bound, percent_short(finding.threshold), SMALL, (DIM, SOFT), "explained", indent=26)
    if finding.present and region.frame_number not in (None, shown.number):
        column.text(f"in frame {region.frame_number}, not shown", SMALL, AMBER, "elsewhere", indent=26)
    _measured(column, finding.measurements)
    _remarks(column, finding, shown)
    column.gap(6)


def _sizes(region: Region) -> list[tuple[str, str]]:
    sizes = [("area", area_says(region))]
    if region.perimeter_mm is not None:
        sizes.append(("outline", f"{rounded(region.perimeter_mm)} mm{plane_says(region)}"))
    elif region.perimeter_px:
        sizes.append(("outline", f"{region.perimeter_px:,.0f} px"))
    if region.parts > 1:
        sizes.append(("pieces", str(region.parts)))
    return sizes


def area_says(region: Region) -> str:
    """``21.3 cm²``, ``87.4 mm²``, or in pixels where nothing says how large those are."""
    if region.area_mm2 is None:
        return f"{region.area_px:,.0f} px"
    if region.area_mm2 >= 100.0:
        return f"{rounded(region.area_mm2 / 100.0)} cm\u00b2{plane_says(region)}"
    return f"{rounded(region.area_mm2)} mm\u00b2{plane_says(region)}"


def _measured(column: Column, measurements: Sequence[Measurement]) -> None:
    for one in measurements:
        column.pair(one.name, value_says(one), SMALL, (DIM, WHITE), "size", indent=26)


def _remarks(column: Column, finding: Finding, shown: Shown) -> None:
    """What qualifies a finding, what is to be known of it, and what it was made of."""
    for concept in finding.codes:
        column.text(code_says(concept), SMALL, SOFT, "code", indent=26)
    for note in finding.notes:
        column.text(note.text, SMALL, AMBER, "note", indent=26)
    if finding.heat is not None:
        write_heat(column, finding.heat, shown.frame, shown.rendered)
        column.gap(6)


# --- no result --------------------------------------------------------------------------------


def _withheld(column: Column, result: Result) -> None:
    reason = result.reason
    assert reason is not None
    tone = CORAL if result.outcome is Outcome.FAILED else AMBER
    column.text(NO_RESULT.upper(), SMALL, tone, "heading")
    column.text(statement(result).headline, TITLE, WHITE, "no-result")
    column.text(NOT_NEGATIVE, BODY, tone, "not-negative")
    column.gap(8)
    told = needs_and_has(reason)
    if told is None:
        column.text(reason.message, BODY, SOFT, "reason")
    else:
        for name, value in told:
            column.named(name, value, BODY, (DIM, WHITE), "reason", _COLUMN)
    column.gap(8)
    column.text("What to do", SMALL, DIM, "heading")
    column.text(what_to_do(result), BODY, SOFT, "remedy")


def _frames(result: Result, shown: Shown) -> list[str]:
    total, ran = result.frames_total, result.frames_run
    if total is None:
        return []
    lines = [f"frame {shown.number} of {total}"] if shown.number is not None else []
    if result.outcome is Outcome.COMPLETED and ran is not None and (ran < total or total > 1):
        lines.append(f"{ran} of {total} frames were run")
    elif not lines and total > 1:
        lines.append(f"{total} frames")
    return [", ".join(lines)] if lines else []


def _moment(created_at: str) -> str:
    return created_at.replace("T", " ").partition(".")[0].removesuffix("Z") + " UTC"
