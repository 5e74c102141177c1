"""What a result states, and when that is a close call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeai.api import Failure, Finding, InstanceRef, Measurement, Outcome, Result
from edgeai.bundle.manifest import Eligibility
from edgeai.cli.statement import close_calls, needs_and_has, statement, what_to_do
from edgeai.cli.table import lines
from edgeai.cli.wording import percent, value_says
from edgeai.testing.gallery import BASE, RESULTS, scored, segment, withheld


def _of(*findings: Finding) -> Result:
    return replace(BASE, findings=findings)


@pytest.mark.parametrize(
    ("score", "threshold", "close"),
    [
        (0.59, 0.5, True),
        (0.601, 0.5, False),
        (0.41, 0.5, True),
        (0.399, 0.5, False),
        (0.001, 0.02, False),
        (0.019, 0.02, True),
        (0.04, 0.02, False),
        (0.99, 0.95, False),
        (0.96, 0.95, True),
        (1.0, 0.5, False),
        (0.0, 0.5, False),
        (0.9, 1.0, False),
        (0.1, 0.0, False),
    ],
)
def test_a_close_call_is_one_of_odds(score: float, threshold: float, close: bool) -> None:
    finding = scored("x", score, threshold)
    assert bool(close_calls((finding,))) is close
    assert statement(_of(finding)).doubtful is close


@pytest.mark.parametrize(("first", "second", "close"), [(0.5, 0.4, True), (0.55, 0.3, False), (0.4, 0.35, True)])
def test_the_highest_of_several_is_held_against_the_next(first: float, second: float, close: bool) -> None:
    findings = (
        scored("a", first, None),
        scored("b", second, None, present=False),
        scored("c", 0.1, None, present=False),
    )
    assert bool(close_calls(findings)) is close


def test_what_reached_its_threshold_and_was_not_the_highest_is_a_rival() -> None:
    findings = (scored("a", 0.45, 0.2), scored("b", 0.43, 0.2, present=False), scored("c", 0.1, 0.2))
    assert statement(_of(*findings)).headline == "a, closely before b"


def test_labels_that_do_not_exclude_each_other_are_no_rivals() -> None:
    assert not close_calls((scored("a", 0.91), scored("b", 0.9)))


def test_the_complement_of_a_close_call_is_not_doubted_twice() -> None:
    assert len(statement(RESULTS["binary"]).doubts) == 1


def test_an_area_whose_inside_is_hardly_above_the_edge_is_faint() -> None:
    result = _of(segment("head", (9, 9), 4, probability=0.55))
    assert statement(result).headline == "head outlined, faintly"
    assert not statement(_of(segment("head", (9, 9), 4))).doubtful


def test_a_certain_finding_is_not_doubted_for_another_label() -> None:
    told = statement(_of(scored("a", 0.95), scored("b", 0.47)))
    assert (told.headline, told.doubtful) == ("a", False)
    assert told.doubts == ("b: 47.0 %, stated from 50 %",)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.COMPLETED])
def test_no_outcome_but_completed_reads_as_a_finding(outcome: Outcome) -> None:
    told = statement(withheld(outcome, "x.y", "no"))
    assert "not for this model" in told.headline or "no statement" in told.headline or "could not" in told.headline


@pytest.mark.parametrize(
    ("eligibility", "told"),
    [
        (Eligibility(modality=("CR", "DX")), (("needs", "Modality CR or DX"), ("has", "Modality US"))),
        (Eligibility(min_rows=128), (("needs", "Rows at least 128"), ("has", "Rows 48"))),
        (Eligibility(view_position=("PA",)), (("needs", "View Position PA"), ("has", "View Position absent"))),
        (Eligibility(sop_class_uid=("1.2",)), (("needs", "SOP Class UID 1.2"), ("has", "SOP Class UID 9.9"))),
    ],
)
def test_needs_and_has_are_read_from_the_reason_as_the_manifest_words_it(
    eligibility: Eligibility, told: tuple[tuple[str, str], tuple[str, str]]
) -> None:
    instance = InstanceRef(sop_class_uid="9.9", sop_instance_uid="1", modality="US", rows=48, columns=64)
    why = eligibility.why_not(instance)
    assert why is not None
    assert needs_and_has(Failure(code="input.not-eligible", message=why)) == told


def test_another_reason_is_told_whole() -> None:
    assert needs_and_has(Failure(code="x.y", message="the engine stopped")) is None


def test_what_to_do_is_the_remedy_as_a_sentence_or_what_holds_for_the_outcome() -> None:
    assert what_to_do(RESULTS["failed"]) == "Give it a smaller batch."
    assert what_to_do(RESULTS["not applicable"]).startswith("Nothing, if such images are expected here.")
    assert "without the model" in what_to_do(RESULTS["indeterminate"])


def test_percentages_never_round_to_certainty() -> None:
    assert [percent(p) for p in (None, 0.0, 0.0004, 0.5, 0.9996, 1.0)] == [
        "",
        "0.0 %",
        "< 0.1 %",
        "50.0 %",
        "> 99.9 %",
        "100.0 %",
    ]


# --- the table on a terminal --------------------------------------------------------------------


@pytest.mark.parametrize("width", [50, 80, 200])
def test_the_table_has_every_column_however_narrow_the_terminal_is(width: int) -> None:
    results = list(RESULTS.values())
    names = [f"the-name-of-a-file-that-is-quite-long-{number}.dcm" for number in range(len(results))]
    shown = [line.plain for line in lines(names, results, width)]
    assert shown[0].split() == ["file", "finding", "score", "outcome", "ms"]
    assert max(map(len, shown)) <= width
    assert sum("NO RESULT" in line.upper() for line in shown) == sum(
        r.outcome is not Outcome.COMPLETED for r in results
    )


def test_reasons_doubts_and_notes_stand_below_their_row_in_full() -> None:
    text = " ".join(
        " ".join(line.plain.split()) for line in lines(["a", "b"], [RESULTS["failed"], RESULTS["notes"]], 80)
    )
    assert "backend.failed: the engine stopped: out of memory on the device" in text
    assert "note: 16 of 60 frames were run" in text
    assert "and 7 more notes" in text
    (row,) = [line for line in lines(["a"], [RESULTS["just above"]], 80) if "doubtful" in line.plain]
    assert row.plain.strip() == "doubtful: x" or "53.4 %" in row.plain


def test_a_finding_is_never_green_in_the_table() -> None:
    styles = {str(span.style) for line in lines(list(RESULTS), list(RESULTS.values()), 80) for span in line.spans}
    assert styles == {"dim", "yellow", "red"}


@pytest.mark.parametrize(("value", "says"), [(0.0193, "0.0193"), (12.34, "12.3"), (999.0, "999"), (1234.0, "1234")])
def test_a_number_without_a_unit_has_three_digits_and_never_an_exponent(value: float, says: str) -> None:
    assert value_says(Measurement(name="score", value=value, unit="1")) == says
