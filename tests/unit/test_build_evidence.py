"""The evidence of a build: its schema, what a bundle's copy leaves out, and what the report makes of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft202012Validator

from edgeai.bundle.evidence import (
    Bin,
    Evidence,
    Load,
    Reliability,
    Step,
    decode_evidence,
    encode_evidence,
)
from edgeai.bundle.evidence_schema import evidence_schema
from edgeai.cli.inspect import measured
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.chosen import Chosen
from edgeai_workbench.comparison import Comparison, Figure, Row
from edgeai_workbench.confirming import Confirmed
from edgeai_workbench.convert import Artifact
from edgeai_workbench.evidence import evidence_of, still, write_evidence
from edgeai_workbench.gates import Verdict, digest_of_folder
from edgeai_workbench.load import busy_seconds, disturbed, watching
from edgeai_workbench.openings import Opening
from edgeai_workbench.pack import evidence_for
from edgeai_workbench.report import markdown
from edgeai_workbench.report.words import loaded
from edgeai_workbench.sbom import sbom_of

DATA, MODEL = "sha256:" + "d" * 64, "sha256:" + "e" * 64
HOLDS = Verdict(gate="max_drop.auc_roc", bound=0.01, found=0.0, holds=True)
SLOW = Verdict(gate="max_latency_ratio", bound=0.5, found=0.7, holds=False)


@pytest.fixture
def card(repo_root: Path) -> Card:
    return read_card(repo_root / "models" / "modality-guard")


def _row(name: str, *, value: float = 0.9, ms: float = 1.0, **more: Any) -> Row:
    figure = Figure(value=value, low=value - 0.05, high=value + 0.05, method="Wilson")
    common: dict[str, Any] = {
        "id": name,
        "variant": name if name in ("parent", "small") else "parent",
        "backend": "keras" if name in ("parent", "small") else "tflite",
        "device": "CPU",
        "precision": "fp32",
        "bytes": 1000,
        "size_ratio": 1.0,
        "figures": {"auc_roc": figure},
        "drops": {"auc_roc": Figure(value=0.0, low=-0.01, high=0.01)},
        "agreement": 0.95,
        "ms": ms,
        "ms_low": ms / 2,
        "ms_high": ms * 2,
        "speed_ratio": 1.0 / ms,
        "digest": f"sha256:{name}",
    }
    return Row(**{**common, **more})


def _comparison(*rows: Row, **more: Any) -> Comparison:
    return Comparison(**{"rows": rows, "samples": 40, "main": "auc_roc", "reference": "parent", "units": 20, **more})


def _opening(card: Card, before: int = 0) -> Opening:
    return Opening(
        data=DATA, model=card.model_digest, artifacts={"a": MODEL}, date="2026-01-02T03:04:05", before=before
    )


def _confirmed(card: Card, *rows: Row, before: int = 0) -> Confirmed:
    return Confirmed(comparison=_comparison(*rows, samples=10, units=10), opening=_opening(card, before))


def _full(card: Card, *, ms: float = 1.0) -> Evidence:
    """With everything that evidence can hold."""
    bins = (Bin(said=0.2, happened=0.1, samples=3), Bin(said=0.8, happened=0.9, samples=7))
    worth = (
        Reliability(name="before the temperature", error=0.2, bins=bins),
        Reliability(name="as stated, with the temperature of 2", error=0.05, bins=bins[1:]),
    )
    steps = (Step(name="parent", bytes=4000, parameters=900, operations=2_000_000), Step(name="prune", bytes=2000))
    small = _row("small", facts={"epochs": 3.0}, steps=steps, ms=ms)
    ships = _row(
        "a",
        ms=ms,
        ship=True,
        verdicts=(HOLDS, SLOW),
        reliability=worth,
        otherwise=("secret/anna.png",),
        steps=(*steps, Step(name="to a", bytes=500)),
        worst=math.nan,
        undefined={"f1": "no sample is positive"},
    )
    rows = (_row("parent", value=0.91, steps=steps[:1], ms=ms), small, ships)
    return evidence_of(
        card,
        _comparison(*rows, load=Load(processors=2, share=ms / 10, others=0.5)),
        command="edgeai build x",
        confirmed=_confirmed(card, rows[0], ships),
        openings=(_opening(card),),
        data=MODEL,
    )


# --- the file -----------------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_types(repo_root: Path) -> None:
    published = json.loads((repo_root / "edgeai/schemas/evidence-1.json").read_text())
    again = "run: python -m edgeai.bundle.evidence_schema > edgeai/schemas/evidence-1.json"
    assert published == evidence_schema(), again


def test_what_a_build_writes_fits_the_schema_and_is_read_again(card: Card) -> None:
    Draft202012Validator.check_schema(evidence_schema())
    for evidence in (_full(card), still(_full(card)), evidence_of(card, _comparison(_row("parent")), command="")):
        data = encode_evidence(evidence)
        Draft202012Validator(evidence_schema()).validate(json.loads(data))
        assert decode_evidence(data) == evidence
        assert encode_evidence(decode_evidence(data)) == data


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"trials": [{"split": "test"}]},
        {"digest": None},
        {"machine": "fast"},
        {"openings": [{"data": "x"}]},
        {"robustness": "good"},
    ],
)
def test_schema_and_reader_refuse_alike(card: Card, change: dict[str, Any]) -> None:
    body = {**json.loads(encode_evidence(_full(card))), **change}
    assert not Draft202012Validator(evidence_schema()).is_valid(body)
    with pytest.raises(ValueError, match=r"\S"):
        decode_evidence(json.dumps(body).encode())


def test_keys_of_a_newer_edgeai_are_passed_over(card: Card) -> None:
    body = {**json.loads(encode_evidence(_full(card))), "weather": "fine"}
    assert Draft202012Validator(evidence_schema()).is_valid(body)
    assert decode_evidence(json.dumps(body).encode()) == _full(card)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_evidence_is_said_in_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        decode_evidence(data)


def test_what_samples_do_not_determine_is_null(card: Card) -> None:
    bare = Figure(value=0.7, low=math.nan, high=math.nan)
    row = _row("parent", figures={"auc_roc": bare}, ms_low=math.nan)
    evidence = evidence_of(card, _comparison(row), command="")
    (model,) = evidence.trials[0].models
    assert (model.figures["auc_roc"].low, model.figures["auc_roc"].value) == (None, 0.7)
    assert model.time is not None
    assert model.time.low_ms is None
    assert b"NaN" not in encode_evidence(evidence)
    assert "0.7000" in markdown(card, evidence)


# --- what a bundle carries -------------------------------------------------------------------------------


def test_a_bundles_copy_is_the_same_whatever_was_timed_and_wherever(card: Card) -> None:
    one, other = (still(_full(card, ms=ms)) for ms in (1.0, 7.0))
    assert encode_evidence(one) == encode_evidence(other)
    for trial in one.trials:
        assert all(model.time is None and not model.otherwise for model in trial.models)
    assert b"anna" not in encode_evidence(one)
    held = [gate for trial in one.trials for model in trial.models for gate in model.verdicts]
    assert [(gate.gate, gate.found) for gate in held] == [("max_drop.auc_roc", 0.0), ("max_latency_ratio", None)] * 2
    assert one.machine is None
    assert b"anna" in encode_evidence(_full(card))


def test_the_copys_report_says_nothing_of_the_machine(card: Card) -> None:
    text = markdown(card, still(_full(card)))
    assert "processors busy" not in text
    assert "anna" not in text
    assert " ms" not in text
    assert text == markdown(card, still(_full(card, ms=7.0)))


# --- what the report says of it -----------------------------------------------------------------------------


def _section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_what_was_chosen_by_validation_is_said_and_nothing_else(card: Card) -> None:
    full = markdown(card, _full(card))
    assert "40 validation samples (of 20 groups), by which was chosen when the fine-tuning of small stopped; " in full
    assert "confirmed below on 10 samples of a test, opened for the first time" in full
    bare = markdown(card, evidence_of(card, _comparison(_row("parent"), _row("small")), command=""))
    assert "by which this build chose nothing" in bare
    recipe = card.recipes[0].model_copy(update={"max_drop": 0.01})
    searched = card.model_copy(update={"recipes": (recipe,)})
    text = markdown(card, evidence_of(searched, _comparison(_row("parent")), command=""))
    assert f"by which was chosen which layers of {recipe.id} stay in float, so new data will say no better" in text


def test_all_that_validation_chose_is_said(card: Card) -> None:
    chosen = Chosen(
        on="validation",
        folds=0,
        samples=40,
        groups=20,
        strata={},
        data=DATA,
        model=MODEL,
        asked={"temperature": True},
        chosen={"temperature": 1.5, "threshold": 0.3},
    )
    recipe = card.recipes[0].model_copy(update={"max_drop": 0.01})
    searched = card.model_copy(update={"recipes": (recipe,)})
    notes = ("prune: fine-tuned for 8 epochs, kept epoch 5, validation loss 0.2", "distil: fine-tuned, kept epoch 2")
    rows = (
        _row("parent"),
        _row("small", notes=notes, facts={"epochs": 0.0}),
        _row(recipe.id, notes=("kept in float: conv_1, dense",)),
    )
    more: dict[str, Any] = {"choice": chosen, "script": "train.py", "left_out": ("b",)}
    text = markdown(searched, evidence_of(searched, _comparison(*rows), command="", **more))
    for words in (
        "what train.py took from it for the parent",
        "temperature (1.5), threshold (0.3)",
        "when the fine-tuning of small after prune stopped (epoch 5)",
        "when the fine-tuning of small after distil stopped (epoch 2)",
        f"which layers of {recipe.id} stay in float (conv_1, dense)",
        "that b does not ship",
        "so new data will say no better",
        "Chosen on validation (40 samples of 20 groups): temperature 1.5, threshold 0.3.",
    ):
        assert words in text
    folds = msgspec.structs.replace(chosen, on="folds", folds=5)
    elsewhere = markdown(card, evidence_of(card, _comparison(_row("parent")), command="", choice=folds))
    assert "by which this build chose nothing" in elsewhere
    assert "Chosen on 5 folds of train (40 samples of 20 groups): temperature 1.5" in elsewhere
    assert "what chose its task's options" in markdown(card, evidence_of(card, _comparison(_row("parent")), command=""))


def test_what_ships_is_told_by_the_test_where_it_was_opened(card: Card) -> None:
    parent, ships = _row("parent"), _row("a", ship=True, verdicts=(HOLDS,))
    lost = {"auc_roc": Figure(value=0.2, low=0.1, high=0.3)}
    on_test = (_row("parent", value=0.8), _row("a", value=0.6, ship=True, agreement=0.5, drops=lost))
    evidence = evidence_of(card, _comparison(parent, ships), command="", confirmed=_confirmed(card, *on_test))
    text = markdown(card, evidence)
    (line,) = (line for line in text.splitlines() if line.startswith("- `a`: ") and "decides as" in line)
    assert "auc_roc 0.6000 on test where the parent has 0.8000: a drop of 0.2000 (0.1000 to 0.3000)" in line
    assert "decides as the parent in 50.00 % of 10 samples of test" in line
    assert "0.9000" not in line


def test_every_table_names_its_split(card: Card) -> None:
    parts = {"sex=f": {"auc_roc": Figure(value=0.7, low=0.6, high=0.8)}}
    rows = (_row("parent", parts=parts), _row("a", ship=True, parts=parts, otherwise=("x",)))
    evidence = evidence_of(card, _comparison(*rows), command="", confirmed=_confirmed(card, *rows))
    for section in markdown(card, evidence).split("\n## ")[1:]:
        title = section.splitlines()[0]
        if "0.9000" in section or "0.7000" in section:
            first = section.partition("0.9000")[0].partition("0.7000")[0]
            assert "validation" in first or "test" in first, title


def test_the_report_says_after_how_many_looks(card: Card) -> None:
    rows = (_row("parent"), _row("a", ship=True))
    for before, words in ((0, "for the first time"), (1, "after 1 look before"), (2, "after 2 looks before")):
        confirmed = _confirmed(card, *rows, before=before)
        evidence = evidence_of(
            card, _comparison(*rows), command="", confirmed=confirmed, openings=(confirmed.opening,), data=MODEL
        )
        text = markdown(card, evidence)
        assert f"of a test, opened {words}" in text
        assert f"10 samples, opened 2026-01-02T03:04:05, {words}." in _section(text, "Confirmed on the test")
        assert "1 in all, 1 of them for this model, which has 3." in _section(text, "Openings of the test")


def test_probabilities_stand_before_and_after_the_temperature(card: Card) -> None:
    told = _section(markdown(card, _full(card)), "Calibration")
    assert "On the 10 samples of test." in told
    assert "| `a` | before the temperature | 0.2000 |" in told
    assert "| `a` | as stated, with the temperature of 2 | 0.0500 |" in told
    assert "| `a` | before the temperature | 0.8000 | 0.9000 | 7 |" in told
    assert "## Calibration" not in markdown(card, evidence_of(card, _comparison(_row("parent")), command=""))


def test_each_step_is_held_against_the_one_before(card: Card) -> None:
    told = _section(markdown(card, _full(card)), "What each step saved")
    assert "| `a` | parent | 4.0 kB | 900 | 2 M |" in told
    assert "| `a` | prune | 2.0 kB, 2.0 x smaller |  |  |" in told
    assert "| `a` | to a | 0.5 kB, 4.0 x smaller |  |  |" in told
    assert "| `small` | prune | 2.0 kB, 2.0 x smaller |  |  |" in told
    assert "a layer's work is not known" in told
    assert "| `parent` |" not in told


def test_a_variant_that_ships_as_an_artifact_is_told_once(card: Card) -> None:
    steps = (Step(name="parent", bytes=4000), Step(name="prune", bytes=2000))
    small, ships = _row("small", steps=steps), _row("a", variant="small", ship=True, steps=(*steps, steps[1]))
    rows = (_row("parent", steps=steps[:1]), small, ships)
    told = _section(markdown(card, evidence_of(card, _comparison(*rows), command="")), "What each step saved")
    assert "| `a` | prune |" in told
    assert "| `small` |" not in told


def test_the_front_names_what_no_other_beats_with_its_interval(card: Card) -> None:
    rows = (
        _row("parent", bytes=4000, ms=4.0),
        _row("a", bytes=1000, ms=9.0, value=0.85),
        _row("b", bytes=2000, ms=8.0, value=0.84),
    )
    evidence = evidence_of(card, _comparison(*rows), command="")
    assert evidence.trials[0].fronts == {"size": ("a", "parent"), "time": ("parent",)}
    told = _section(markdown(card, evidence), "The front")
    assert "| size | `a` | 1.0 kB | 0.8500 (0.8000 to 0.9000) |" in told
    assert "| time | `parent` | 4.000 ms | 0.9000 (0.8500 to 0.9500) |" in told
    assert "`b`" not in told
    assert "no other of the 3" in told


def test_better_low_turns_the_front_round(card: Card) -> None:
    figures = [{"auc_roc": Figure(value=value, low=0, high=9, unit="mm", better="lower")} for value in (2.0, 3.0)]
    rows = (_row("parent", bytes=10, figures=figures[0]), _row("a", bytes=20, figures=figures[1]))
    assert evidence_of(card, _comparison(*rows), command="").trials[0].fronts["size"] == ("parent",)


def test_gates_of_the_split_that_confirmed_are_listed(card: Card) -> None:
    told = _section(markdown(card, _full(card)), "Gates")
    assert "They are held on validation, and again on the test. Of a drop the upper end" in told
    floor = msgspec.structs.replace(HOLDS, gate="floors.auc_roc")
    once = _comparison(_row("parent"), _row("a", ship=True, verdicts=(floor,)))
    text = _section(markdown(card, evidence_of(card, once, command="")), "Gates")
    assert "They are held on validation." in text
    assert "Of a drop" not in text


# --- the machine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "says", "warns"),
    [
        (None, "", False),
        (Load(processors=4, share=None, others=None), "", False),
        (
            Load(processors=4, share=1.3, others=0.2),
            "0.2 of 4 processors busy and this process had 100 % of one",
            False,
        ),
        (Load(processors=4, share=0.6, others=None), "this process had 60 % of one", True),
        (Load(processors=4, share=1.0, others=3.4), "3.4 of 4 processors busy", True),
        (Load(processors=1, share=1.0, others=0.1), "0.1 of 1 processors busy", False),
        (Load(processors=1, share=1.0, others=0.9), "0.9 of 1 processors busy", True),
    ],
)
def test_a_busy_machine_is_warned_of(load: Load | None, says: str, warns: bool) -> None:
    assert says in loaded(load)
    assert ("WARNING" in loaded(load)) == warns == (load is not None and disturbed(load))


def test_the_report_says_how_busy_the_machine_was(card: Card) -> None:
    assert "other programmes kept 0.5 of 2 processors busy and this process had 10 % of one. WARNING" in markdown(
        card, _full(card)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("cpu  100 0 200 5000 300 10 20 30 40 50\ncpu0 1 2 3\n", 360),
        ("cpu 1 2 3 4 5\n", 6),
        ("", None),
        ("cpu\n", None),
        ("cpu 1 2\n", None),
        ("cpu a b c d e\n", None),
        ("intr 1 2 3 4 5 6\n", None),
    ],
)
def test_processor_time_is_read_where_the_system_says_it(
    tmp_path: Path, text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    (tmp_path / "stat").write_text(text)
    assert busy_seconds(tmp_path / "stat") == seconds
    assert busy_seconds(tmp_path / "none") is None


def test_work_of_ones_own_is_no_load_of_others(tmp_path: Path) -> None:
    with watching(tmp_path / "none") as watched:
        sum(range(300_000))
    assert watched.load is not None
    assert watched.load.others is None
    assert watched.load.share is not None
    assert watched.load.share > 0


# --- for whoever looks at the bundle -------------------------------------------------------------------------


def test_inspect_tells_the_split_that_counts_most_and_the_looks_at_it(card: Card) -> None:
    lines = measured(encode_evidence(still(_full(card))))
    assert lines[0] == "test, which confirmed: 10 samples"
    assert "a: auc_roc 0.9000 (0.8500 to 0.9500); 1 of 2 gates hold" in lines
    assert lines[-1] == "opened 2026-01-02T03:04:05, 0 times before"
    once = evidence_of(card, _comparison(_row("parent")), command="")
    assert measured(encode_evidence(once)) == [
        "validation, which chose too: 40 samples",
        "parent: auc_roc 0.9000 (0.8500 to 0.9500)",
    ]


def test_inspect_bears_evidence_that_is_none_or_newer(card: Card) -> None:
    assert measured(None) == ["none in the bundle"]
    assert measured(encode_evidence(msgspec.structs.replace(_full(card), trials=()))) == ["nothing was measured"]
    newer = json.dumps({**json.loads(encode_evidence(_full(card))), "schema": 2}).encode()
    assert measured(newer) == ["not read here: it has schema 2, and schema 1 is read"]
    assert measured(b"{")[0].startswith("not read here: ")


def _sold(card: Card, evidence: Evidence | None) -> dict[str, dict[str, Any]]:
    artifact = Artifact(
        id="a", format="tflite", precision="int8", path="m", parent=card.model_digest, recipe={}, converter="tflite 1"
    )
    data = sbom_of(card, [artifact], evidence)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    body = json.loads(data)
    parts = [body["metadata"]["component"], *body["components"]]
    return {part["bom-ref"]: part["modelCard"] for part in parts if "modelCard" in part}


@pytest.mark.slow
def test_the_bill_of_materials_has_model_cards_of_the_standard(card: Card) -> None:
    cards = _sold(card, still(_full(card)))
    assert set(cards) == {f"model:{card.name}@{card.version}", "artifact:a"}
    metrics = cards["artifact:a"]["quantitativeAnalysis"]["performanceMetrics"]
    interval = {"lowerBound": "0.85", "upperBound": "0.95"}
    assert {"type": "auc_roc", "value": "0.9", "slice": "test", "confidenceInterval": interval} in metrics
    assert [metric["slice"] for metric in metrics] == ["validation", "test"]
    assert cards["artifact:a"]["considerations"]["technicalLimitations"] == list(card.limits)
    assert {"name": "edgeai:data:test", "value": DATA} in cards["artifact:a"]["properties"]
    assert cards["artifact:a"]["modelParameters"]["task"] == card.task.name
    assert _sold(card, None) == {}, "what nobody measured keeps the bytes that it had before"


def test_parts_are_slices_and_what_is_not_determined_is_left_out(card: Card) -> None:
    nan = math.nan
    parts = {
        "sex=f": {"error": Figure(value=2.5, low=nan, high=nan, unit="mm"), "f1": Figure(value=nan, low=0, high=1)}
    }
    evidence = evidence_of(card, _comparison(_row("parent"), _row("a", ship=True, parts=parts)), command="")
    metrics = _sold(card, evidence)["artifact:a"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[1:] == [{"type": "error", "value": "2.5 mm", "slice": "validation, sex=f"}]


def test_evidence_of_other_artifacts_is_not_packed(card: Card, tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "a").mkdir(parents=True)
    (tmp_path / "artifacts" / "a" / "model").write_bytes(b"weights")
    row = _row("a", ship=True, digest=digest_of_folder(tmp_path / "artifacts" / "a"))
    evidence = evidence_of(card, _comparison(_row("parent"), row), command="")
    write_evidence(tmp_path, evidence)
    assert evidence_for(card, tmp_path, ["a"]) == still(evidence)
    assert evidence_for(card.model_copy(update={"version": "9.9.9"}), tmp_path, ["a"]) is None
    (tmp_path / "artifacts" / "a" / "model").write_bytes(b"other weights")
    assert evidence_for(card, tmp_path, ["a"]) is None
    (tmp_path / "bundle-evidence.json").write_text("{")
    assert evidence_for(card, tmp_path, ["a"]) is None


def test_the_reference_page_names_every_key(repo_root: Path) -> None:
    page = (repo_root / "docs/reference/evidence.md").read_text()
    parts = evidence_schema()
    keys = {*parts["properties"], *(key for part in parts["$defs"].values() for key in part["properties"])}
    assert sorted(key for key in keys if f"`{key}`" not in page) == []
