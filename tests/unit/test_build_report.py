"""The report: what it says of a build, and that the bundle's copy holds nothing that differs from run to run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from edgeai.bundle.evidence import Evidence
from edgeai.testing.require import require
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.card_parts import CardGuard
from edgeai_workbench.comparison import Comparison, Figure, Row
from edgeai_workbench.evidence import evidence_of, still
from edgeai_workbench.gates import Verdict
from edgeai_workbench.report import Picture, markdown, write_report
from edgeai_workbench.report.pictures import draw_standing, pareto
from edgeai_workbench.report.words import faster, headline, sentence, smaller


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


def _comparison(*rows: Row, **more: object) -> Comparison:
    return Comparison(rows=rows, samples=42, main="auc_roc", reference="parent", **more)  # type: ignore[arg-type]


def _evidence(card: Card, comparison: Comparison, *, timed: bool = True) -> Evidence:
    evidence = evidence_of(card, comparison, command="x")
    return evidence if timed else still(evidence)


def _text(card: Card, comparison: Comparison, *, timed: bool = True) -> str:
    return markdown(card, _evidence(card, comparison, timed=timed))


def _written(folder: Path, card: Card, comparison: Comparison, *pictures: Picture) -> str:
    write_report(folder, card, _evidence(card, comparison), pictures)
    return (folder / "report.html").read_text(encoding="utf-8")


GOOD = Verdict(gate="floors.auc_roc", bound=0.8, found=0.9, holds=True)
SLOW = Verdict(gate="max_latency_ratio", bound=0.5, found=0.7, holds=False)


# --- how it opens, and which way ratios go -----------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "size", "time"),
    [
        (0.19, "5.3 x larger", "5.3 x slower"),
        (0.94, "1.1 x larger", "1.1 x slower"),
        (0.97, "as large", "as fast"),
        (1.0, "as large", "as fast"),
        (1.07, "1.1 x smaller", "1.1 x faster"),
        (9.94, "9.9 x smaller", "9.9 x faster"),
        (31.6, "32 x smaller", "32 x faster"),
    ],
)
def test_ratios_say_which_way_they_go(ratio: float, size: str, time: str) -> None:
    assert (smaller(ratio), faster(ratio)) == (size, time)


def test_the_report_says_what_stands_before_the_model_and_how_much_it_withholds(card: Card) -> None:
    rows = (_row("parent"), _row("a", ship=True, verdicts=(GOOD,)))
    for withheld, words in (
        (None, "is withheld before the model. Figures are"),
        ({}, "is withheld before the model: none of the 42 samples of validation. Figures are"),
        ({"guard.blank": 2, "guard.noise": 1}, "3 of the 42 samples of validation (guard.blank 2, guard.noise 1)."),
    ):
        comparison = _comparison(*rows, withheld=withheld)
        assert words in _text(card, comparison)
        assert words in _text(card, comparison, timed=False)
    without = card.model_copy(update={"guard": CardGuard(content=False)})
    assert "the card says `content = false`" in _text(without, comparison)


@pytest.mark.slow
def test_the_report_opens_with_the_verdict(card: Card, tmp_path: Path) -> None:
    good, bad = (_comparison(_row("parent"), _row("a", ship=True, verdicts=v)) for v in ((GOOD,), (GOOD, SLOW)))
    for comparison, verdict in (
        (good, "There is a bundle: the gate holds, for the artifact that ships."),
        (bad, "There is no bundle: 1 of 2 gates fails."),
    ):
        assert headline(_evidence(card, comparison)) == verdict
        text = _text(card, comparison)
        assert text.splitlines()[2] == f"**{verdict}**"
        _written(tmp_path, card, comparison)
        body = (tmp_path / "report.html").read_text().partition("</h1>")[2]
        assert re.sub(r"<[^>]*>", "", body).split("\n")[2].strip() == verdict


def test_a_slow_artifact_is_called_slower_wherever_it_is_told(card: Card, tmp_path: Path) -> None:
    comparison = _comparison(_row("parent"), _row("a", ms=5.3, size=20, ship=True, verdicts=(GOOD,)))
    _written(tmp_path, card, comparison)
    for text in (_text(card, comparison), (tmp_path / "report.html").read_text()):
        assert "5.3 x slower" in text
        assert "5.0 x smaller" in text
        assert "0.19" not in text
        assert "faster by" not in text
    untimed = _text(card, comparison, timed=False)
    assert "slower" not in untimed
    assert "5.0 x smaller" in untimed


def test_what_was_gained_and_lost_is_one_sentence(card: Card) -> None:
    trial = _evidence(card, _comparison(_row("parent"), _row("a", ms=0.5, auc=0.8999, ship=True))).trials[0]
    assert sentence(trial.models[1], trial) == (
        "as large as the parent's file; 2.0 x faster than parent; auc_roc 0.8999 on validation where the parent has "
        "0.9000: a drop of 0.0001 (-0.0100 to 0.0100); decides as the parent in 97.00 % of 42 samples of validation"
    )


def test_the_method_of_each_interval_is_said(card: Card) -> None:
    wilson, drawn = (Figure(value=0.9, low=0.8, high=1.0, method=name) for name in ("Wilson", "BCa bootstrap"))
    figures = {"accuracy": wilson, "brier": drawn, "recall": wilson}
    row = msgspec.structs.replace(_row("parent"), figures=figures, drops={"brier": drawn})
    text = _text(card, _comparison(row))
    methods = (
        "95 % intervals: accuracy and recall by Wilson; brier by BCa bootstrap; the drop of brier by BCa bootstrap."
    )
    assert methods in text
    assert "by which this build chose nothing, and how training used them is not known" in text
    assert "the card has no [dataset.test] that was opened. 95 %" in text


@pytest.mark.parametrize(("count", "are"), [(1, "is an image"), (3, "are images")])
def test_images_of_train_in_validation_are_counted_in_both_forms_of_the_report(
    card: Card, tmp_path: Path, count: int, are: str
) -> None:
    comparison = _comparison(_row("parent"))
    assert "of train" not in _text(card, comparison)
    near = msgspec.structs.replace(comparison, near=("a.png is b.jpg",) * count)
    sentence = f"{count} of the 42 samples of validation {are} of train, but for how they are stored: figures on "
    page = _written(tmp_path, card, near)
    for text in (_text(card, near), page):
        assert sentence in text
        assert "a.png" not in text  # a bundle carries no names of samples
    assert (_evidence(card, comparison).trials[0].near, _evidence(card, near).trials[0].near) == (0, count)


def test_parts_stand_with_the_parent_beside_what_ships(card: Card) -> None:
    figure, bare = Figure(value=0.9, low=0.8, high=0.95), Figure(value=0.7, low=float("nan"), high=float("nan"))
    parts = {"sex=f": {"accuracy": bare, "auc_roc": figure}, "label a": {"f1": bare}}
    rows = [_row("parent"), _row("a", ship=True), _row("b")]
    comparison = _comparison(*(msgspec.structs.replace(row, parts=parts, members={"sex=f": 17}) for row in rows))
    text = _text(card, comparison)
    table = text.partition("## By subgroup and label")[2]
    assert "| part | samples | metric | `parent` | `a` |" in table
    assert "| sex=f | 17 | auc_roc | 0.9000 (0.8000 to 0.9500) | 0.9000 (0.8000 to 0.9500) |" in table
    assert "| label a |  | f1 | 0.7000 | 0.7000 |" in table
    assert "By subgroup" not in _text(card, _comparison(*rows))


def test_a_figure_that_the_parent_lacks_is_shown_of_the_others(card: Card) -> None:
    """A parent that states no positive has no precision; what ships has, and a gate may bound it."""
    figure = Figure(value=0.7777, low=0.6, high=0.9)
    asked = Verdict(gate="worst_floors.precision (sex=f)", bound=0.5, found=0.7777, holds=True)
    parent = msgspec.structs.replace(_row("parent"), parts={"sex=f": {"auc_roc": figure}})
    ships = msgspec.structs.replace(_row("a", ship=True), parts={"sex=f": {"auc_roc": figure, "precision": figure}})
    ships = msgspec.structs.replace(ships, figures=ships.figures | {"precision": figure}, verdicts=(asked,))
    text = _text(card, _comparison(parent, ships))
    assert "| auc_roc | precision |" in text
    assert text.count("0.7777 (0.6000 to 0.9000) |") == 4
    assert "| sex=f |  | precision |  | 0.7777 (0.6000 to 0.9000) |" in text


def test_nothing_judged_is_no_verdict_of_good(card: Card) -> None:
    def said(*rows: Row, timed: bool = True, constant: bool = False) -> str:
        return headline(_evidence(card, _comparison(*rows, constant=constant), timed=timed))

    assert "nothing was judged" in said(_row("parent"), _row("a", ship=True))
    assert said(_row("parent"), _row("a")).startswith("Nothing ships")
    constant = said(_row("parent"), _row("a", ship=True, verdicts=(GOOD,)), constant=True)
    assert constant == "There is no bundle: the parent gives all 42 samples the same answer."


def test_the_bundles_copy_counts_the_gates_that_were_held(card: Card) -> None:
    quick = msgspec.structs.replace(SLOW, found=0.4, holds=True)
    rows = (_row("parent"), _row("a", ship=True, verdicts=(GOOD, quick)))
    for timed in (True, False):
        evidence = _evidence(card, _comparison(*rows), timed=timed)
        assert headline(evidence) == "There is a bundle: all 2 gates hold, for the artifact that ships."
        assert "max_latency_ratio: " in _text(card, _comparison(*rows), timed=timed)
    assert "0.4" not in _text(card, _comparison(*rows), timed=False)
    only = _comparison(_row("parent"), _row("a", ship=True, verdicts=(quick,)))
    assert "the gate holds" in headline(_evidence(card, only, timed=False))


def test_what_refused_the_bundle_is_the_headline(card: Card, tmp_path: Path) -> None:
    rows = (_row("parent"), _row("a", ship=True, verdicts=(GOOD,)))
    evidence = msgspec.structs.replace(_evidence(card, _comparison(*rows)), refused="the test was opened 3 times")
    assert headline(evidence) == "There is no bundle: the test was opened 3 times."
    write_report(tmp_path, card, evidence, ())
    for name in ("REPORT.md", "report.html", "bundle-report.md"):
        text = (tmp_path / name).read_text()
        assert "There is no bundle: the test was opened 3 times." in text
        assert "There is a bundle" not in text
        assert "would have shipped" in text


def test_a_figure_without_spread_has_one_wording(card: Card) -> None:
    flat = Figure(value=1.0, low=1.0, high=1.0)
    row = msgspec.structs.replace(_row("a", ship=True), figures={"auc_roc": flat}, drops={"auc_roc": flat})
    text = _text(card, _comparison(_row("parent"), row))
    assert "1.0000 (no spread in these samples)" in text
    assert "1.0000 to 1.0000" not in text


def test_no_minus_stands_before_zeros(card: Card) -> None:
    assert "-0.0000" not in _text(card, _comparison(_row("parent"), _row("a", auc=0.900001)))


# --- that it fits -----------------------------------------------------------------------------

METRICS = ("auc_roc", "auc_pr", "accuracy", "sensitivity", "specificity", "precision", "recall", "f1", "brier", "ece")
ENGINES = ("tflite-fp32", "tflite-dynamic", "openvino-int8", "pruned-tflite-int8", "student-openvino-int8")


def _wide() -> Comparison:
    figure = Figure(value=0.123456, low=0.1, high=0.2, unit="mm2")
    rows = [_row(name, ms=1.0 + place) for place, name in enumerate(("parent", *ENGINES, "a" * 40))]
    return _comparison(
        *(
            Row(
                **{name: getattr(row, name) for name in row.__struct_fields__}
                | {"figures": dict.fromkeys(METRICS, figure)}
            )
            for row in rows
        )
    )


def test_tables_have_no_more_columns_than_a_page_holds(card: Card, tmp_path: Path) -> None:
    _written(tmp_path, card, _wide())
    heads = re.findall(r"<tr>(<th>.*?)</tr>", (tmp_path / "report.html").read_text())
    assert len(heads) == 4, "models, two tables of metrics, and the front"
    assert max(head.count("<th>") for head in heads) <= 7
    assert {name for head in heads[1:3] for name in re.findall(r"<th>(.*?)</th>", head)} == {"model", *METRICS}


@pytest.mark.slow
def test_the_page_fits_1100_pixels_in_a_browser(card: Card, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    require("chromium", browser is not None, "no browser here: apt-get install chromium")
    assert browser is not None
    _written(tmp_path, card, _wide())
    page = tmp_path / "report.html"
    asked = "<script>document.title = 'wide: ' + document.scrollingElement.scrollWidth;</script></body>"
    page.write_text(page.read_text().replace("</body>", asked))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=600, check=True).stdout
    width = re.search(r"<title>wide: (\d+)", shown)
    assert width is not None
    assert int(width[1]) <= 1100


@pytest.mark.slow
@pytest.mark.parametrize("values", [[0.9] * 14, [0.9 + place / 1e4 for place in range(14)]])
def test_labels_of_the_picture_do_not_collide(card: Card, values: list[float]) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    made = [_row(f"student-openvino-int8-{place}", auc=value, ms=1 + place / 99) for place, value in enumerate(values)]
    rows = _evidence(card, _comparison(*made)).trials[0].models
    figure = figures.Figure(figsize=(9.6, 1.3 + 0.3 * len(rows)), layout="constrained")
    draw_standing(figure, rows, "auc_roc")
    figure.draw_without_rendering()

    def apart(labels: list[object], side: Callable[[object], tuple[float, float]]) -> bool:
        spans = sorted(side(label) for label in labels if label.get_text())  # type: ignore[attr-defined]
        return all(one[1] <= other[0] for one, other in pairwise(spans))

    def down(label: object) -> tuple[float, float]:
        box = label.get_window_extent()  # type: ignore[attr-defined]
        assert box.x0 >= 0
        return box.y0, box.y1

    def across(label: object) -> tuple[float, float]:
        box = label.get_window_extent()  # type: ignore[attr-defined]
        return box.x0, box.x1

    assert apart(figure.axes[0].get_yticklabels(), down)
    shown = [label for axes in figure.axes for label in axes.get_xticklabels() if _is_seen(axes, label)]
    assert apart(shown, across), "those of neighbouring axes included"


def _is_seen(axes: object, label: object) -> bool:
    low, high = axes.get_xlim()  # type: ignore[attr-defined]
    return bool(low <= label.get_position()[0] <= high)  # type: ignore[attr-defined]


# --- what is in it ----------------------------------------------------------------------------


def test_it_names_every_gate_that_keeps_the_bundle_away(card: Card) -> None:
    text = _text(card, _comparison(_row("parent"), _row("a", ship=True, verdicts=(GOOD, SLOW))))
    assert "There is no bundle" in text
    assert "- `a`: max_latency_ratio: 0.7, to be at most 0.5" in text
    assert re.search(r"\| `a` .*\| FAIL \|", text)


def test_what_does_not_ship_keeps_no_bundle_away(card: Card) -> None:
    rows = (_row("parent"), _row("a", verdicts=(SLOW,)), _row("b", ship=True, verdicts=(GOOD,)))
    text = _text(card, _comparison(*rows))
    assert "There is no bundle" not in text
    assert re.search(r"\| `a` .*\| would fail \|", text)
    assert re.search(r"\| `b` .*\| hold \|", text)


def test_the_bundles_copy_is_the_same_whatever_was_timed(card: Card) -> None:
    def text(ms: float, *, holds: bool) -> str:
        quick = Verdict(gate="max_latency_ratio", bound=0.7, found=ms, holds=True)
        slow = Verdict(gate="max_latency_ratio", bound=0.5, found=ms, holds=holds)
        rows = (_row("parent", ms=ms), _row("a", ms=ms, ship=True, verdicts=(GOOD, quick)), _row("b", verdicts=(slow,)))
        return _text(card, _comparison(*rows), timed=False)

    assert text(0.4, holds=True) == text(0.6, holds=False)
    assert "ms |" not in text(0.4, holds=True)


def test_worst_layers_come_first_and_ten_at_most(card: Card) -> None:
    layers = {f"layer{number}": number / 100 for number in range(15)}
    text = _text(card, _comparison(_row("parent"), _row("a", layers=layers)))
    assert "- `a`: layer14 0.140, layer13 0.130" in text
    assert "layer4 " not in text


def test_the_page_is_one_file_and_escapes_what_is_in_it(card: Card, tmp_path: Path) -> None:
    picture = Picture(title="<b>", says="a & b", png=b"png")
    page = _written(tmp_path, card, _comparison(_row("parent", notes=("<script>",))), picture)
    assert "data:image/png;base64,cG5n" in page
    assert "<script>" not in page
    assert "a &amp; b" in page
    assert not re.search(r"(?:src|href)=.http", page)
    assert (tmp_path / "REPORT.md").is_file()


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    rows = [_row("slow", ms=3, auc=0.95), _row("bad", ms=2, auc=0.85), _row("quick", ms=1, auc=0.9)]
    front = pareto(rows, lambda row: row.ms, lambda row: row.figures["auc_roc"].value)
    assert [row.id for row in front] == ["quick", "slow"]
