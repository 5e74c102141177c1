"""Wrong images: each kind is asked of the packed bundle as a cart asks it, counted, and held to the card's bounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from edgeai.api import Assessed, ConfigError, DataRejected, EvaluationFailed, FrameContext, GateFailed, Geometry
from edgeai.bundle.evidence import Evidence, decode_evidence, encode_evidence
from edgeai.bundle.honour import SPLIT_CONFORMAL
from edgeai.bundle.manifest import ArtifactDecl, Eligibility, TaskUse
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.uses import AbstentionUse, GuardUse
from edgeai.testing.distributions import write_fakes
from edgeai.testing.fakes import Misbehaviour
from edgeai_tasks.classify.judge import Labels
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.comparison import Comparison
from edgeai_workbench.comparison import Row as Compared
from edgeai_workbench.contenders import EngineWish
from edgeai_workbench.dataset import Sample
from edgeai_workbench.drawings import chest
from edgeai_workbench.evidence import evidence_of, still
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.judgement import hold_judgement, keep_judgement
from edgeai_workbench.pictures import frame_of
from edgeai_workbench.report import markdown as report
from edgeai_workbench.robustness.frames import Distorted
from edgeai_workbench.stress.asking import Reply, stands
from edgeai_workbench.stress.building import hold_tables, with_verdicts
from edgeai_workbench.stress.images import kinds_of
from edgeai_workbench.stress.measuring import Measured, measure, verdicts_of
from edgeai_workbench.stress.pictures import drawings
from edgeai_workbench.stress.results import Row, from_plain
from edgeai_workbench.stress.settings import CHANGED, StressUse, read_stress
from edgeai_workbench.stress.words import NOT_ASKED, markdown, table
from edgeai_workbench.wrong_images import WRONG

TASK = TaskUse(name="classify", options={"mode": "multi-class", "labels": ["bright", "dark"]})
OWN, EACH = 6, 4
WRONG_TABLE = {"table": "other/train.csv", "image": "file"}


def _image(number: int, bright: bool) -> np.ndarray:
    """A chest, as it is or at two fifths of its brightness."""
    plane = chest(number, rows=64, columns=80).astype(float) * (1.0 if bright else 0.4)
    return plane.astype(np.uint8)


def _own() -> tuple[Sample, ...]:
    def sample(number: int) -> Sample:
        bright = number % 2 == 0
        frame = frame_of(_image(number, bright), name=f"own {number}", spacing_mm=(0.5, 0.5))
        truth = Labels(("bright" if bright else "dark",))
        return Sample(id=f"own {number}", group=f"p{number}", frame=lambda: frame, truth=truth)

    return tuple(map(sample, range(OWN)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A table of other images, the first of them in colour."""
    folder = tmp_path / "data" / "other"
    folder.mkdir(parents=True)
    for number in range(9):
        Image.fromarray(_image(20 + number, True)).save(folder / f"{number}.png")
    Image.fromarray(np.repeat(_image(20, True)[..., None], 3, axis=2)).save(folder / "0.png")
    (folder / "train.csv").write_text("file\n" + "".join(f"{number}.png\n" for number in range(9)))
    return folder.parent


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Callable[..., Any]:
    """A bundle whose fake engine tells bright images from dark ones, behind what a test puts there."""

    def make(**changes: Any) -> Any:
        fixed = {"task": TASK, "plugins": ("fakes", "classify"), "golden": False, "schema": 2, "guard": GuardUse()}
        return open_bundle(make_bundle(**{**fixed, **changes}))

    return make


@pytest.fixture
def asked(
    bundle: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Measured]:
    """The stress set of a fake bundle, on an engine that is fake too."""
    write_fakes(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def ask(use: StressUse, own: Sequence[Sample] = (), **changes: Any) -> Measured:
        return measure(bundle(**changes), use, own or _own(), data, wish=EngineWish(backend="fake-works", threads=1))

    return ask


def _use(**more: Any) -> StressUse:
    return StressUse.model_validate({"samples": EACH, **more})


def _rows(measured: Measured) -> dict[str, Row]:
    return {row.kind: row for row in measured.stress.rows}


def test_every_kind_is_asked_behind_the_guard_and_told_by_its_most_frequent_code(
    asked: Callable[..., Measured],
) -> None:
    measured = asked(_use(wrong=[WRONG_TABLE]))
    rows = _rows(measured)
    assert list(rows) == [*WRONG, "other", "proper", *CHANGED]
    assert {row.samples for row in rows.values()} == {EACH}
    assert replace(rows["other"], codes={"a": 1, "b": 3, "c": 3}).mostly == "b"
    assert [rows[kind].mostly for kind in ("constant", "checkers", "grey-noise", "text")] == [
        "guard.constant",
        "guard.few-levels",
        "guard.noise",
        "guard.blank",
    ]
    assert {rows[kind].withheld.value for kind in WRONG} == {1.0}
    assert rows["blobs"].withheld.low == pytest.approx(0.51, abs=0.01)
    assert rows["other"].withheld.value == 0.0
    assert rows["proper"].codes == {}
    assert {rows[kind].kept for kind in (*WRONG, "other", "proper")} == {None}
    assert {one.kind for one in measured.through} == {"other", "inverted"}


def test_its_own_are_good_where_they_are_withheld_or_the_statement_is_as_before(asked: Callable[..., Measured]) -> None:
    """Which way a chest lies is nothing to one that looks at brightness; that it is inverted is."""
    rows = _rows(asked(_use()))
    assert rows["upside-down"].withheld.value == 0.0
    assert rows["upside-down"].kept.value == rows["flipped"].kept.value == 1.0
    assert rows["saturated"].codes == {"guard.clipped": EACH}
    assert rows["saturated"].kept.value == 1.0
    assert rows["inverted"].withheld.value == rows["inverted"].kept.value == 0.5


def test_what_no_guard_looks_at_is_told_as_let_through_and_shown(asked: Callable[..., Measured]) -> None:
    measured = asked(_use(wrong=[WRONG_TABLE]), guard=GuardUse(content=False))
    rows = _rows(measured)
    assert {rows[kind].withheld.value for kind in WRONG} == {0.0}
    assert {rows[kind].withheld.low for kind in WRONG} == {0.0}
    (strip,) = drawings(measured)
    assert len(strip.panels) == 12
    assert [panel.title for panel in strip.panels[:3]] == ["constant", "constant", "ramp"]


def test_no_picture_where_nothing_is_let_through(asked: Callable[..., Measured]) -> None:
    dark = [sample for sample in _own() if sample.truth == Labels(("dark",))]
    measured = asked(_use(samples=2), dark, eligibility=Eligibility(modality=("CR",), min_rows=100))
    assert drawings(measured) == []
    assert _rows(measured)["proper"].codes == {"input.not-eligible": 2}


def test_drawings_are_as_large_as_the_model_takes(asked: Callable[..., Measured]) -> None:
    rows = _rows(asked(_use(wrong=[WRONG_TABLE]), eligibility=Eligibility(modality=("CR",), min_rows=300)))
    assert rows["constant"].codes == {"guard.constant": EACH}
    assert rows["other"].codes == {"input.not-eligible": EACH}


def test_a_model_that_abstains_withholds(asked: Callable[..., Measured]) -> None:
    """So does whatever else ends an image without a statement, behind the engine too."""
    use = AbstentionUse(method=SPLIT_CONFORMAL, risk=0.1, quantile=0.0)
    rows = _rows(asked(_use(wrong=[WRONG_TABLE]), guard=GuardUse(content=False, abstention=use)))
    assert rows["other"].codes == rows["proper"].codes == {"guard.abstained": EACH}


def test_each_artifact_is_asked_by_itself(asked: Callable[..., Measured]) -> None:
    artifacts = tuple(
        ArtifactDecl(id=name, format="fake", precision="fp32", path="model.json") for name in ("one", "two")
    )
    stress = asked(_use(samples=1), artifacts=artifacts).stress
    assert [row.model for row in stress.rows if row.kind == "text"] == ["one", "two"]
    head, *rows = table(stress)
    assert head == ("images", "count", "one", "two", "to be at least")
    assert len(rows) == len(WRONG) + 1 + len(CHANGED)


def test_an_engine_that_fails_has_withheld_nothing(asked: Callable[..., Measured]) -> None:
    with pytest.raises(EvaluationFailed, match="own 0"):
        asked(_use(), misbehave=Misbehaviour(how="raise"))


def test_bounds_are_held_by_the_share_itself(asked: Callable[..., Measured]) -> None:
    least = {"drawn": 1.0, "inverted": 0.95, "upside-down": 0.95, "saturated": 1.0}
    measured = asked(_use(min_withheld=least, wrong=[{**WRONG_TABLE, "min_withheld": 0.97}]))
    verdicts = {verdict.gate.partition(".")[2]: verdict for verdict in verdicts_of(measured.stress, "fake-fp32")}
    assert set(verdicts) == {*WRONG, "other", "inverted", "upside-down", "saturated"}
    assert {kind for kind, verdict in verdicts.items() if not verdict.holds} == {"other", "inverted"}
    assert all(verdict.is_least for verdict in verdicts.values())
    assert (verdicts["other"].found, verdicts["inverted"].found, verdicts["upside-down"].found) == (0.0, 0.5, 1.0)
    assert verdicts_of(measured.stress, "another") == ()
    bounds = {row[0]: row[-2:] for row in table(measured.stress)}
    assert bounds["images"] == ("fake-fp32", "to be at least")
    assert bounds["other"] == ("0.0% (0% to 49%), FAILS", "0.97")
    assert bounds["upside-down"] == ("0.0% (0% to 49%), with good statements 100.0% (51% to 100%)", "0.95")
    assert bounds["proper"] == ("0.0% (0% to 49%)", "")


def test_the_same_images_each_time_evenly_spread(asked: Callable[..., Measured], data: Path) -> None:
    use = _use(wrong=[WRONG_TABLE])
    assert asked(use).stress == asked(use).stress
    wrong, kept = kinds_of(use, _own(), data, Eligibility())
    assert [sample.id for sample in wrong[-1].samples] == [f"other/{number}.png" for number in (0, 3, 5, 8)]
    assert [sample.id for sample in kept[0].samples] == ["own 0", "own 2", "own 3", "own 5"]
    few, _ = kinds_of(_use(samples=100, wrong=[WRONG_TABLE]), _own(), data, Eligibility())
    assert len(few[-1].samples) == 9


def test_wrong_images_come_as_its_own_do(data: Path) -> None:
    """Under a header that the model takes, in colour and with a spacing where its own have them: so none of these
    withholds them."""
    eligible = Eligibility(modality=("US",), view_position=("AP", "PA"))
    wrong, kept = kinds_of(_use(wrong=[WRONG_TABLE]), _own(), data, eligible)
    grey = [kind.samples[1].load() for kind in (wrong[0], wrong[-1], kept[0])]
    assert {frame.geometry.pixel_spacing_mm for frame, _ in grey} == {(0.5, 0.5)}
    assert {(instance.modality, instance.view_position) for _, instance in grey} == {("US", "AP")}
    assert {frame.pixels.ndim for frame, _ in grey} == {2}

    def coloured(sample: Sample) -> Sample:
        frame = frame_of(np.repeat(sample.frame().pixels[..., None], 3, axis=2), name=sample.id, modality="us")
        return replace(sample, frame=lambda: frame)

    wrong, kept = kinds_of(_use(wrong=[WRONG_TABLE]), [*map(coloured, _own())], data, eligible)
    frames = [sample.load() for kind in (wrong[0], wrong[-1], kept[0]) for sample in kind.samples]
    assert {frame.pixels.shape[2:] for frame, _ in frames} == {(3,)}
    assert {instance.samples_per_pixel for _, instance in frames} == {3}
    assert {frame.geometry.pixel_spacing_mm for frame, _ in frames} == {None}
    assert kept[0].samples[0].load()[1].modality == "us"  # which the model takes as it is


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"table": "elsewhere/train.csv", "image": "file"}, "data.file-missing"),
        ({"table": "other/train.csv", "image": "picture"}, "data.column-missing"),
        ({"table": "other/train.csv", "array": "data.npz:images"}, "data.file-missing"),
    ],
)
def test_a_table_that_is_not_there_is_refused(data: Path, wrong: dict[str, str], code: str) -> None:
    with pytest.raises(DataRejected) as caught:
        kinds_of(_use(wrong=[wrong]), _own(), data, Eligibility())
    assert caught.value.code == code


def test_a_build_says_so_before_it_makes_anything(data: Path, repo_root: Path) -> None:
    card = _card(repo_root, wrong=[WRONG_TABLE])
    hold_tables(card, data)
    hold_tables(_card(repo_root), data / "nowhere")
    with pytest.raises(DataRejected):
        hold_tables(card, data / "nowhere")


# --- what is true of an image that was moved ------------------------------------------------------


class _Judge:
    """Truth and answers are words; what is moved has ``truth`` instead."""

    def __init__(self, truth: str | None, *, assesses: bool = True) -> None:
        self._truth, self._assesses = truth, assesses

    def moved(self, truth: str, geometry: Geometry, extent: tuple[int, int]) -> str | None:
        return self._truth

    def digest(self, truth: str) -> bytes:
        return truth.encode()

    def alike(self, one: str, other: str) -> bool:
        return one == other

    def assessed(self, case: Any, answer: str) -> Assessed | None:
        return Assessed(right=answer == case.truth) if self._assesses else None


def _stands(judge: _Judge, before: str, now: str, *, moved: bool = True, truth: str | None = "a") -> bool | None:
    frame = frame_of(_image(1, True), name="x")
    arrived = Distorted(frame=frame, moved=Geometry(source_rows=64, source_columns=80) if moved else None)
    context = FrameContext(frame=frame, instance=frame.instance)
    replies = [
        Reply(code=word) if word.startswith("guard") else Reply(code="", answer=word, context=context)
        for word in (before, now)
    ]
    sample = Sample(id="x", group="x", frame=lambda: frame, truth=truth)
    return stands(judge, sample, arrived, *replies)  # type: ignore[arg-type]


def test_a_statement_about_a_place_is_good_where_it_moved_along() -> None:
    assert _stands(_Judge("b"), "a", "b") is True
    assert _stands(_Judge("b"), "a", "a") is False  # as before, and the head is elsewhere by now
    assert _stands(_Judge("b"), "a", "guard.distance") is True
    assert _stands(_Judge(None), "a", "a") is None
    assert _stands(_Judge("b", assesses=False), "a", "b") is None


def test_a_statement_about_the_whole_is_good_where_it_is_as_before_or_right() -> None:
    for moved in (True, False):
        assert _stands(_Judge("a"), "wrong", "wrong", moved=moved) is True
        assert _stands(_Judge("a"), "wrong", "a", moved=moved) is True
        assert _stands(_Judge("a"), "guard.distance", "a", moved=moved) is True
        assert _stands(_Judge("a"), "a", "wrong", moved=moved) is False
        assert _stands(_Judge("a"), "guard.distance", "wrong", moved=moved) is False
    assert _stands(_Judge("a"), "a", "a", moved=False, truth=None) is True
    assert _stands(_Judge("a"), "a", "b", moved=False, truth=None) is False
    assert _stands(_Judge("a"), "a", "a", truth=None) is None


# --- the card --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ({"samples": 0}, "samples"),
        ({"min_withheld": {"upside_down": 0.9}}, "no kind upside_down"),
        ({"min_withheld": {"drawn": 1.5}}, "less than or equal to 1"),
        ({"wrong": [{"table": "a/b.csv"}]}, "exactly one of image and array"),
        ({"wrong": [{"table": "a/b.csv", "image": "f", "array": "d.npz:x"}]}, "exactly one of image and array"),
        ({"wrong": [{**WRONG_TABLE, "min_withheld": 1.01}]}, "less than or equal to 1"),
        ({"wrong": [WRONG_TABLE, {**WRONG_TABLE, "table": "other/val.csv"}]}, "other is the name of another kind"),
        ({"wrong": [{**WRONG_TABLE, "name": "text"}]}, "text is the name of another kind"),
        ({"wrong": [{**WRONG_TABLE, "name": "proper"}]}, "proper is the name of another kind"),
        ({"wrong": [{**WRONG_TABLE, "least": 0.9}]}, "least"),
    ],
)
def test_what_makes_no_sense_is_refused(use: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        _use(**use)


def test_what_makes_sense_is_taken() -> None:
    use = _use(wrong=[WRONG_TABLE, {**WRONG_TABLE, "name": "others"}, {"table": "flat.csv", "array": "d.npz:x"}])
    assert [wrong.called for wrong in use.wrong] == ["other", "others", "flat"]
    assert not use.bounded
    assert _use(min_withheld={"drawn": 0.5}).bounded
    assert _use(wrong=[{**WRONG_TABLE, "min_withheld": 0}]).bounded


def _card(repo_root: Path, **stress: Any) -> Card:
    card = read_card(repo_root / "models" / "xray-view")
    return card.model_copy(update={"gates": Gates(), "robustness": None, "stress": _use(**stress)})


def test_a_card_takes_no_table_of_its_own_for_wrong(repo_root: Path, tmp_path: Path) -> None:
    """So no test of it is opened."""
    text = (repo_root / "models" / "xray-view" / "model.toml").read_text()
    for name, fails in (("us_breast/labels_train.csv", False), ("xray_view/labels_val.csv", True)):
        wrong = f'\n[stress]\nsamples = 5\n\n[[stress.wrong]]\ntable = "{name}"\nimage = "file"\n'
        (tmp_path / "model.toml").write_text(text + wrong)
        if not fails:
            assert read_card(tmp_path).stress is not None
            continue
        with pytest.raises(ConfigError, match=r"labels_val\.csv is a table of \[dataset\]"):
            read_card(tmp_path)


def test_a_file_has_it_for_a_bundle_whose_card_has_none(tmp_path: Path) -> None:
    path = tmp_path / "stress.toml"
    path.write_text('[stress]\nsamples = 7\n[[stress.wrong]]\ntable = "a/b.csv"\nimage = "f"\n')
    assert [wrong.called for wrong in read_stress(path).wrong] == ["a"]
    for text, code in (
        (None, "config.card-missing"),
        ("[stress\n", "config.card-syntax"),
        ("samples = 7\n", "config.card-invalid"),
        ("[stress]\nsample = 7\n", "config.card-invalid"),
        ('name = "x"\n[stress]\n', "config.card-invalid"),
    ):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_stress(path)
        assert caught.value.code == code


def test_packing_asks_whether_its_bounds_were_held(repo_root: Path, tmp_path: Path) -> None:
    hold_judgement(_card(repo_root, wrong=[WRONG_TABLE]), tmp_path, {"a": "sha256:1"})
    bounded = _card(repo_root, min_withheld={"drawn": 1.0})
    with pytest.raises(GateFailed) as caught:
        hold_judgement(bounded, tmp_path, {"a": "sha256:1"})
    assert caught.value.code == "gate.not-judged"
    keep_judgement(bounded, tmp_path, {"a": "sha256:1"}, {"a": ()})
    hold_judgement(bounded, tmp_path, {"a": "sha256:1"})
    with pytest.raises(GateFailed):  # by another bound nobody judged
        hold_judgement(_card(repo_root, min_withheld={"drawn": 0.5}), tmp_path, {"a": "sha256:1"})


# --- evidence and report ------------------------------------------------------------------------


def _evidence(card: Card, measured: Measured | None) -> Evidence:
    row = Compared(
        id="fake-fp32",
        variant="parent",
        backend="fake-works",
        device="CPU",
        precision="fp32",
        bytes=1,
        size_ratio=1.0,
        figures={},
        drops={},
        agreement=1.0,
        ms=1.0,
        speed_ratio=1.0,
        ship=True,
    )
    comparison = Comparison(rows=(row,), samples=4, main="auc_roc", reference="parent")
    if measured is None:
        return evidence_of(card, comparison, command="x")
    judged = with_verdicts(comparison, measured.stress)
    return evidence_of(card, judged, command="x", stress=measured.stress.as_dict())


def test_evidence_and_report_have_it(asked: Callable[..., Measured], repo_root: Path) -> None:
    measured = asked(_use(min_withheld={"drawn": 1.0, "inverted": 1.0}, wrong=[WRONG_TABLE]))
    card = read_card(repo_root / "models" / "xray-view")
    evidence = still(_evidence(card, measured))
    assert from_plain(json.loads(encode_evidence(evidence))["stress"]) == measured.stress
    text = report(card, evidence)
    assert "| `fake-fp32` |" in text
    assert "| images | count | `fake-fp32` | to be at least |" in text
    assert "| constant | 4 | 100.0% (51% to 100%), guard.constant | 1 |" in text
    assert "| other | 4 | 0.0% (0% to 49%) |  |" in text
    assert "min_withheld.inverted: 0.5, to be at least 1 (FAILS)" in text
    assert "There is no bundle: 1 of 10 gates fails." in text
    assert NOT_ASKED not in text
    page = markdown("tiny 1.0.0", "sha256:1", "edgeai evaluate", measured.stress)
    assert "| other | 4 | 0.0% (0% to 49%) |  |" in page
    assert "- other: images of other/train.csv, under a header that the model takes" in page


def test_a_report_says_that_nobody_asked(repo_root: Path) -> None:
    card = read_card(repo_root / "models" / "xray-view")
    evidence = _evidence(card, None)
    assert b"stress" not in encode_evidence(evidence)
    text = report(card, decode_evidence(encode_evidence(evidence)))
    assert NOT_ASKED in text
    assert "## Wrong images" not in text
