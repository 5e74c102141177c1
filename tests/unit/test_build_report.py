"""The report: what it says of a build, and that the bundle's copy holds nothing that differs from run to run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeai.build.card import Card, read_card
from edgeai.build.comparison import Comparison, Figure, Row
from edgeai.build.gates import Verdict
from edgeai.build.report import Picture, markdown, write_report
from edgeai.build.report.pictures import pareto


@pytest.fixture
def card(repo_root: Path) -> Card:
    return read_card(repo_root / "models" / "modality-guard")


def _row(name: str, *, size: int = 100, ms: float = 1.0, auc: float = 0.9, **more: object) -> Row:
    figure = Figure(value=auc, low=auc - 0.01, high=auc + 0.01)
    return Row(
        id=name,
        variant="parent",
        backend="tflite",
        device="CPU",
        precision="int8",
        bytes=size,
        size_ratio=100 / size,
        figures={"auc_roc": figure},
        drops={"auc_roc": Figure(value=0.9 - auc, low=-0.01, high=0.01)},
        agreement=0.97,
        ms=ms,
        speed_ratio=1 / ms,
        **more,  # type: ignore[arg-type]
    )


def _comparison(*rows: Row) -> Comparison:
    return Comparison(rows=rows, samples=42, main="auc_roc", reference="parent")


GOOD = Verdict(gate="floors.auc_roc", bound=0.8, found=0.9, holds=True)
SLOW = Verdict(gate="max_latency_ratio", bound=0.5, found=0.7, holds=False)


def test_it_names_every_gate_that_keeps_the_bundle_away(card: Card) -> None:
    text = markdown(card, _comparison(_row("parent"), _row("a", ship=True, verdicts=(GOOD, SLOW))), command="x")
    assert "There is no bundle" in text
    assert "- `a`: max_latency_ratio: 0.7, to be at most 0.5" in text
    assert re.search(r"\| `a` .*\| FAIL \|", text)


def test_what_does_not_ship_keeps_no_bundle_away(card: Card) -> None:
    rows = (_row("parent"), _row("a", verdicts=(SLOW,)), _row("b", ship=True, verdicts=(GOOD,)))
    text = markdown(card, _comparison(*rows), command="x")
    assert "There is no bundle" not in text
    assert re.search(r"\| `a` .*\| would fail \|", text)
    assert re.search(r"\| `b` .*\| hold \|", text)


def test_the_bundles_copy_is_the_same_whatever_was_timed(card: Card) -> None:
    def text(ms: float, *, holds: bool) -> str:
        quick = Verdict(gate="max_latency_ratio", bound=0.7, found=ms, holds=True)
        slow = Verdict(gate="max_latency_ratio", bound=0.5, found=ms, holds=holds)
        rows = (_row("parent", ms=ms), _row("a", ms=ms, ship=True, verdicts=(GOOD, quick)), _row("b", verdicts=(slow,)))
        return markdown(card, _comparison(*rows), command="x", timed=False)

    assert text(0.4, holds=True) == text(0.6, holds=False)
    assert "ms |" not in text(0.4, holds=True)


def test_worst_layers_come_first_and_ten_at_most(card: Card) -> None:
    layers = {f"layer{number}": number / 100 for number in range(15)}
    text = markdown(card, _comparison(_row("parent"), _row("a", layers=layers)), command="x")
    assert "- `a`: layer14 0.140, layer13 0.130" in text
    assert "layer4 " not in text


def test_the_page_is_one_file_and_escapes_what_is_in_it(card: Card, tmp_path: Path) -> None:
    picture = Picture(title="<b>", says="a & b", png=b"png")
    write_report(tmp_path, card, _comparison(_row("parent", notes=("<script>",))), [picture], command="x")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64,cG5n" in page
    assert "<script>" not in page
    assert "a &amp; b" in page
    assert not re.search(r"(?:src|href)=.http", page)
    assert (tmp_path / "REPORT.md").is_file()


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    rows = [_row("slow", ms=3, auc=0.95), _row("bad", ms=2, auc=0.85), _row("quick", ms=1, auc=0.9)]
    front = pareto(rows, lambda row: row.ms, lambda row: row.figures["auc_roc"].value)
    assert [row.id for row in front] == ["quick", "slow"]
