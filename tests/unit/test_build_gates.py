"""Gates: what holds, what does not, and that packing cannot go around them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from edgeai.api import ConfigError, GateFailed
from edgeai_workbench.card import Card, Dataset
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import (
    Measured,
    Verdict,
    digest_of_folder,
    hold,
    hold_size,
    judge,
)
from edgeai_workbench.judgement import (
    BUNDLED_EVIDENCE,
    BUNDLED_REPORT,
    JUDGEMENT,
    hold_judgement,
    is_as_told,
    keep_judgement,
)
from edgeai_workbench.spread import in_words

WHY = "A reader sees every image, and two of a hundred are within what two readers differ by."
MEASURED = Measured(
    values={"auc_roc": 0.98, "f1": 0.9}, drops={"auc_roc": 0.004}, agreement=0.97, size_ratio=0.12, latency_ratio=0.3
)


@pytest.mark.parametrize(
    ("bounds", "holds"),
    [
        ({"floors": {"auc_roc": 0.98}}, True),
        ({"floors": {"auc_roc": 0.981}}, False),
        ({"max_drop": {"auc_roc": 0.004}}, True),
        ({"max_drop": {"auc_roc": 0.0039}}, False),
        ({"min_agreement": 0.97}, True),
        ({"min_agreement": 0.98}, False),
        ({"max_size_ratio": 0.12}, True),
        ({"max_size_ratio": 0.119}, False),
        ({"max_latency_ratio": 0.3}, True),
        ({"max_latency_ratio": 0.29}, False),
    ],
)
def test_each_bound_is_held_against_what_was_measured(bounds: dict[str, object], holds: bool) -> None:
    (verdict,) = judge(Gates.model_validate(bounds), MEASURED)
    assert verdict.holds is holds
    if holds:
        hold({"tflite-int8": (verdict,)})
    else:
        with pytest.raises(GateFailed, match=r"tflite-int8: .*, to be at (least|most)") as caught:
            hold({"tflite-int8": (verdict,)})
        assert caught.value.code == "gate.failed"


@pytest.mark.parametrize(
    ("bounds", "flat", "holds"),
    [
        ({"max_drop": {"dice": 0.0}}, {"max_drop": ["dice"]}, False),
        ({"max_drop": {"dice": 0.0}}, {}, True),
        ({"max_drop": {"dice": 0.001}}, {"max_drop": ["dice"]}, True),
        ({"max_drop_own": {"dice": 0.0}}, {"max_drop_own": ["dice"]}, False),
        ({"max_drop_own": {"dice": 0.0}}, {"max_drop": ["dice"]}, True),
        ({"decision": {"margins": {"dice": 0.001}, "why": WHY}}, {"decision": ["dice"]}, True),
        ({"shown_floors": {"dice": 0.9}}, {"figure": ["dice"]}, False),
        ({"shown_floors": {"dice": 0.9}}, {}, True),
        ({"floors": {"dice": 1.0}}, {"figure": ["dice"]}, True),
    ],
)
def test_what_has_no_spread_shows_no_more_than_it_says(
    bounds: dict[str, object], flat: dict[str, list[str]], holds: bool
) -> None:
    zero = {"dice": 0.0}
    measured = Measured(
        values={"dice": 1.0},
        ends={"dice": (1.0, 1.0)},
        drops=zero,
        own_drops=zero,
        decisions=zero,
        agreement=1.0,
        size_ratio=1.0,
        latency_ratio=1.0,
        flat=flat,
    )
    (verdict,) = judge(Gates.model_validate(bounds), measured)
    assert verdict.holds is holds
    assert ("no spread in these samples" in str(verdict)) is not holds


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.25, "0.10 to 0.25"),
        (0.5, 0.5, "no spread in these samples"),
        (None, 0.5, "not determined"),
        (float("nan"), float("nan"), "not determined"),
    ],
)
def test_an_interval_has_one_wording(low: float | None, high: float | None, words: str) -> None:
    assert in_words(low, high, "{:.2f}".format) == words


IN_PARTS = Measured(
    values={"dice": 0.96, "hd95": 2.0, "auc_roc": 0.9},
    better={"dice": "higher", "hd95": "lower", "auc_roc": "higher"},
    drops={},
    own_drops={"dice": 0.004},
    parts={"size=small": {"dice": 0.91, "hd95": 1.5}, "size=large": {"dice": 0.97, "hd95": 3.0}},
    agreement=1.0,
    size_ratio=1.0,
    latency_ratio=1.0,
)


@pytest.mark.parametrize(
    ("bounds", "gate", "value", "holds"),
    [
        ({"max_drop_own": {"dice": 0.005}}, "max_drop_own.dice", 0.004, True),
        ({"max_drop_own": {"dice": 0.003}}, "max_drop_own.dice", 0.004, False),
        ({"worst_floors": {"dice": 0.91}}, "worst_floors.dice (size=small)", 0.91, True),
        ({"worst_floors": {"dice": 0.92}}, "worst_floors.dice (size=small)", 0.91, False),
        ({"worst_ceilings": {"hd95": 3.0}}, "worst_ceilings.hd95 (size=large)", 3.0, True),
        ({"worst_ceilings": {"hd95": 2.5}}, "worst_ceilings.hd95 (size=large)", 3.0, False),
        ({"worst_floors": {"auc_roc": 0.9}}, "worst_floors.auc_roc (all)", 0.9, True),
    ],
)
def test_conversion_and_the_worst_part_have_bounds_of_their_own(
    bounds: dict[str, object], gate: str, value: float, holds: bool
) -> None:
    (verdict,) = judge(Gates.model_validate(bounds), IN_PARTS)
    assert (verdict.gate, verdict.found, verdict.holds) == (gate, value, holds)
    assert ("at least" in str(verdict)) == ("floors" in gate)


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        ({"worst_floors": {"hd95": 1.0}}, "config.card-gate-direction"),
        ({"worst_ceilings": {"dice": 1.0}}, "config.card-gate-direction"),
        ({"worst_floors": {"none": 1.0}}, "config.card-metric-unknown"),
        ({"max_drop_own": {"none": 1.0}}, "config.card-metric-unknown"),
    ],
)
def test_a_bound_on_the_worst_part_that_makes_no_sense_is_a_mistake_of_the_card(
    bounds: dict[str, object], code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(Gates.model_validate(bounds), IN_PARTS)
    assert caught.value.code == code


@pytest.mark.parametrize("gate", ["worst_floors", "worst_ceilings"])
def test_a_part_without_a_number_is_the_worst(gate: str) -> None:
    parts = {"a": {"x": 0.5}, "b": {"x": float("nan")}, "c": {"x": 0.4}}
    measured = Measured(values={"x": 0.5}, drops={}, parts=parts, agreement=1.0, size_ratio=1.0, latency_ratio=1.0)
    (verdict,) = judge(Gates.model_validate({gate: {"x": 0.0 if gate == "worst_floors" else 1.0}}), measured)
    assert verdict.gate == f"{gate}.x (b)"
    assert not verdict.holds


def test_no_number_holds_no_bound() -> None:
    measured = Measured(values={"dice": float("nan")}, drops={}, agreement=1.0, size_ratio=1.0, latency_ratio=1.0)
    (verdict,) = judge(Gates(floors={"dice": 0.0}), measured)
    assert not verdict.holds


@pytest.mark.parametrize(
    "bounds",
    [
        {"floors": {"auc_roc": 0.5}},
        {"shown_floors": {"auc_roc": 0.5}},
        {"max_drop": {"auc_roc": 0.5}},
        {"worst_floors": {"auc_roc": 0.5}},
        {"decision": {"margins": {"auc_roc": 0.5}, "why": WHY}},
    ],
)
def test_a_metric_that_these_samples_do_not_determine_holds_no_bound_and_says_why(bounds: dict[str, object]) -> None:
    measured = msgspec.structs.replace(DECIDED, undefined={"auc_roc": "no sample is negative"})
    (verdict,) = judge(Gates.model_validate(bounds), measured)
    assert not verdict.holds
    assert "no sample is negative" in str(verdict) or "no interval" in str(verdict)


def test_a_margin_that_no_share_can_fall_by_holds_nothing() -> None:
    gates = Gates.model_validate({"decision": {"margins": {"sensitivity": 1.5}, "why": WHY}})
    measured = msgspec.structs.replace(DECIDED, counted={"sensitivity": 100})
    (verdict,) = judge(gates, measured)
    assert (verdict.holds, "asks nothing" in str(verdict)) == (False, True)


def test_a_bound_on_a_metric_that_the_task_lacks_is_a_mistake_of_the_card() -> None:
    with pytest.raises(ConfigError, match="no metric dice") as caught:
        judge(Gates(floors={"dice": 0.9}), MEASURED)
    assert caught.value.code == "config.card-metric-unknown"
    assert "auc_roc" in str(caught.value.remedy)


def test_every_failure_of_every_artifact_is_named() -> None:
    bad = Verdict(gate="floors.dice", bound=0.9, found=0.5, holds=False)
    good = Verdict(gate="min_agreement", bound=0.9, found=0.95, holds=True)
    with pytest.raises(GateFailed) as caught:
        hold({"a": (good, bad), "b": (bad,), "c": (good,)})
    assert "a: floors.dice: 0.5" in str(caught.value)
    assert "b: floors.dice" in str(caught.value)
    assert "c:" not in str(caught.value)
    assert "min_agreement" not in str(caught.value)


@pytest.mark.parametrize(("most", "value", "fails"), [(None, 10, False), (10, 10, False), (10, 11, True)])
def test_a_file_that_is_too_large_is_refused(most: int | None, value: int, fails: bool) -> None:
    if not fails:
        hold_size(most, value, "x")
        return
    with pytest.raises(GateFailed, match="x has 11 bytes, the card allows 10") as caught:
        hold_size(most, value, "x")
    assert caught.value.code == "gate.too-large"


def _card(gates: Gates, **sections: object) -> Card:
    given: dict[str, object] = {"task": {"labels": ["benign", "malignant"]}, "inputs": (), "outputs": ()}
    return Card.model_construct(gates=gates, **given | sections)


TABLE = {"table": "a.csv", "image": "file", "label": "label"}
DIGESTS = {"tflite-int8": "sha256:" + "1" * 64}
HOLDS = {"tflite-int8": (Verdict(gate="min_agreement", bound=0.9, found=0.95, holds=True),)}


def test_what_was_judged_and_held_may_be_packed(tmp_path: Path) -> None:
    card = _card(Gates(min_agreement=0.9))
    keep_judgement(card, tmp_path, DIGESTS, HOLDS)
    hold_judgement(card, tmp_path, DIGESTS)


def test_a_card_whose_gates_ask_for_no_data_needs_no_judgement(tmp_path: Path) -> None:
    hold_judgement(_card(Gates(max_bundle_bytes=10)), tmp_path, DIGESTS)


@pytest.mark.parametrize("change", ["never", "artifact", "gates", "unreadable", "another"])
def test_what_was_not_judged_like_this_is_not_packed(tmp_path: Path, change: str) -> None:
    card = _card(Gates(min_agreement=0.9))
    digests = dict(DIGESTS)
    if change != "never":
        keep_judgement(card, tmp_path, DIGESTS, HOLDS)
    if change == "artifact":
        digests["tflite-int8"] = "sha256:" + "2" * 64
    elif change == "another":
        digests["openvino-int8"] = "sha256:" + "1" * 64
    elif change == "gates":
        card = _card(Gates(min_agreement=0.8))
    elif change == "unreadable":
        (tmp_path / JUDGEMENT).write_text("{")
    with pytest.raises(GateFailed) as caught:
        hold_judgement(card, tmp_path, digests)
    assert caught.value.code == "gate.not-judged"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"task": {"labels": ["malignant", "benign"]}}, r"\[task\] of the card"),
        ({"transforms": ("window",)}, r"\[transforms\] of the card"),
        ({"eligibility": {"modality": ["US"]}}, r"\[eligibility\] of the card"),
        ({"dataset": Dataset.model_validate({"train": TABLE, "validation": TABLE})}, r"\[dataset\] of the card"),
        (BUNDLED_EVIDENCE, BUNDLED_EVIDENCE),
        (BUNDLED_REPORT, BUNDLED_REPORT),
    ],
)
def test_what_was_changed_since_it_was_judged_is_not_packed(
    tmp_path: Path, change: str | dict[str, object], named: str
) -> None:
    """The same artifacts behind other transforms, or with their labels in another order, say something else."""
    gates = Gates(min_agreement=0.9)
    dataset = Dataset.model_validate({"train": TABLE, "validation": TABLE | {"table": "other.csv"}})
    for name in (BUNDLED_EVIDENCE, BUNDLED_REPORT):
        (tmp_path / name).write_text("0.91")
    keep_judgement(_card(gates, dataset=dataset), tmp_path, DIGESTS, HOLDS)
    credited = dataset.model_copy(update={"credit": "whom to thank changes no figure"})
    hold_judgement(_card(gates, dataset=credited), tmp_path, DIGESTS)
    assert is_as_told(_card(gates, dataset=credited), tmp_path)
    card = _card(gates, **{"dataset": dataset} | (change if isinstance(change, dict) else {}))
    if isinstance(change, str):
        (tmp_path / change).write_text("0.99")
    with pytest.raises(GateFailed, match=f"{named} changed after") as caught:
        hold_judgement(card, tmp_path, DIGESTS)
    assert caught.value.code == "gate.not-judged"
    assert not is_as_told(card, tmp_path)


def test_a_judgement_from_before_cards_were_recorded_holds_as_it_did(tmp_path: Path) -> None:
    card = _card(Gates(min_agreement=0.9))
    keep_judgement(card, tmp_path, DIGESTS, HOLDS)
    body = json.loads((tmp_path / JUDGEMENT).read_text())
    old = {name: body[name] for name in ("gates", "artifacts", "verdicts")}
    (tmp_path / JUDGEMENT).write_text(json.dumps(old))
    hold_judgement(card, tmp_path, DIGESTS)
    assert is_as_told(card, tmp_path)


def test_what_was_judged_and_failed_is_not_packed(tmp_path: Path) -> None:
    card = _card(Gates(min_agreement=0.9))
    bad = {"tflite-int8": (Verdict(gate="min_agreement", bound=0.9, found=0.8, holds=False),)}
    keep_judgement(card, tmp_path, DIGESTS, bad)
    assert json.loads((tmp_path / JUDGEMENT).read_text())["verdicts"]["tflite-int8"][0]["holds"] is False
    with pytest.raises(GateFailed) as caught:
        hold_judgement(card, tmp_path, DIGESTS)
    assert caught.value.code == "gate.failed"


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b/c", "2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    before = digest_of_folder(tmp_path)
    assert digest_of_folder(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "d")
    renamed = digest_of_folder(tmp_path)
    (tmp_path / "d").write_text("3")
    assert len({before, renamed, digest_of_folder(tmp_path)}) == 3


DECIDED = Measured(
    values={"sensitivity": 0.95, "ece": 0.03, "dice": 0.9},
    better={"sensitivity": "higher", "ece": "lower", "dice": "higher"},
    ends={"sensitivity": (0.9, 0.98), "ece": (0.01, 0.06), "dice": (float("nan"), float("nan"))},
    drops={},
    decisions={"sensitivity": 0.03, "dice": 0.004},
    counted={"sensitivity": 60},
    agreement=1.0,
    size_ratio=1.0,
    latency_ratio=1.0,
)


@pytest.mark.parametrize(
    ("metric", "margin", "holds", "says"),
    [
        ("sensitivity", 0.03, True, ""),
        ("sensitivity", 0.029, False, "of 60 samples: even where both decide all of them alike, at least 129 are"),
        ("sensitivity", 0.0, False, "no number can show it"),
        ("dice", 0.004, True, ""),
        ("dice", 0.003, False, ""),
    ],
)
def test_a_decision_holds_where_it_is_shown_to_be_within_the_margin(
    metric: str, margin: float, holds: bool, says: str
) -> None:
    gates = Gates.model_validate({"decision": {"margins": {metric: margin}, "why": WHY}})
    (verdict,) = judge(gates, DECIDED)
    assert (verdict.gate, verdict.holds) == (f"decision.{metric}", holds)
    assert says in verdict.says
    assert bool(says) == bool(verdict.says)
    assert says in str(verdict)
    assert "to be at most" in str(verdict)


@pytest.mark.parametrize(("count", "says"), [(6, "of 6 samples of the rarer class: areas of 20"), (0, "no interval")])
def test_a_difference_without_an_interval_is_not_proved_and_says_why(count: int, says: str) -> None:
    unknown = msgspec.structs.replace(DECIDED, decisions={"sensitivity": float("nan")}, counted={"sensitivity": count})
    gates = Gates.model_validate({"decision": {"margins": {"sensitivity": 0.5}, "why": WHY}})
    (verdict,) = judge(gates, unknown)
    assert not verdict.holds
    assert says in verdict.says


def test_samples_that_could_have_shown_it_and_did_not_are_not_called_few() -> None:
    many = msgspec.structs.replace(DECIDED, counted={"sensitivity": 1000})
    gates = Gates.model_validate({"decision": {"margins": {"sensitivity": 0.01}, "why": WHY}})
    (verdict,) = judge(gates, many)
    assert not verdict.holds
    assert verdict.says == ""


@pytest.mark.parametrize(
    ("decision", "where"),
    [
        ({"margins": {"sensitivity": 0.02}}, "why"),
        ({"margins": {"sensitivity": 0.02}, "why": ""}, "why"),
        ({"margins": {"sensitivity": 0.02}, "why": "because"}, "why"),
        ({"margins": {}, "why": WHY}, "margins"),
        ({"why": WHY}, "margins"),
        ({"margins": {"sensitivity": -0.02}, "why": WHY}, "margins"),
    ],
)
def test_a_margin_that_nobody_argues_is_a_mistake_of_the_card(decision: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Gates.model_validate({"decision": decision})
    assert {error["loc"][:2] for error in caught.value.errors()} == {("decision", where)}


def test_a_margin_on_a_metric_that_the_task_lacks_is_a_mistake_of_the_card() -> None:
    gates = Gates.model_validate({"decision": {"margins": {"nonsense": 0.02}, "why": WHY}})
    with pytest.raises(ConfigError, match="no metric nonsense") as caught:
        judge(gates, DECIDED)
    assert (caught.value.code, "sensitivity" in (caught.value.remedy or "")) == ("config.card-metric-unknown", True)


@pytest.mark.parametrize(
    ("bounds", "value", "holds", "says"),
    [
        ({"shown_floors": {"sensitivity": 0.9}}, 0.9, True, ""),
        ({"shown_floors": {"sensitivity": 0.91}}, 0.9, False, ""),
        ({"shown_ceilings": {"ece": 0.06}}, 0.06, True, ""),
        ({"shown_ceilings": {"ece": 0.04}}, 0.06, False, ""),
        ({"shown_floors": {"dice": 0.0}}, None, False, "no interval"),
    ],
)
def test_what_is_shown_is_the_end_of_the_interval(
    bounds: dict[str, object], value: float | None, holds: bool, says: str
) -> None:
    (verdict,) = judge(Gates.model_validate(bounds), DECIDED)
    assert verdict.holds is holds
    assert value is None or verdict.found == value
    assert says in verdict.says
    assert ("at least" in str(verdict)) == ("shown_floors" in bounds)


@pytest.mark.parametrize("bounds", [{"shown_floors": {"ece": 0.0}}, {"shown_ceilings": {"sensitivity": 1.0}}])
def test_what_is_shown_has_a_direction(bounds: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(Gates.model_validate(bounds), DECIDED)
    assert caught.value.code == "config.card-gate-direction"
    assert "shown_" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("bounds", "members", "part", "holds"),
    [
        ({}, {"size=small": 9, "size=large": 60}, "size=small", False),  # the best of values, of nine
        ({}, {"size=small": 10, "size=large": 60}, "all", True),
        ({"min_members": 9}, {"size=small": 9, "size=large": 60}, "all", True),
        ({"min_members": 61}, {"size=small": 9, "size=large": 60}, "size=large", False),
        ({}, {"size=small": 9, "size=large": 9}, "size=large", False),
    ],
)
def test_a_subgroup_of_few_says_so_instead_of_passing(
    bounds: dict[str, object], members: dict[str, int], part: str, holds: bool
) -> None:
    measured = Measured(
        values={"dice": 0.9},
        drops={},
        parts={"size=small": {"dice": 1.0}, "size=large": {"dice": 0.95}},
        members=members,
        agreement=1.0,
        size_ratio=1.0,
        latency_ratio=1.0,
    )
    (verdict,) = judge(Gates.model_validate({"worst_floors": {"dice": 0.8}, **bounds}), measured)
    assert (verdict.gate, verdict.holds) == (f"worst_floors.dice ({part})", holds)
    assert ("fewer than min_members" in verdict.says) is not holds


def test_a_part_that_fails_goes_before_one_of_few() -> None:
    measured = msgspec.structs.replace(IN_PARTS, members={"size=small": 3, "size=large": 60})
    (verdict,) = judge(Gates.model_validate({"worst_ceilings": {"hd95": 1.0}}), measured)
    assert verdict.gate == "worst_ceilings.hd95 (size=large)"


def test_a_judgement_from_before_these_gates_is_still_one(tmp_path: Path) -> None:
    """What an older edgeai wrote names none of them, and its verdicts say nothing."""
    card = _card(Gates(min_agreement=0.9))
    keep_judgement(card, tmp_path, DIGESTS, HOLDS)
    body = json.loads((tmp_path / JUDGEMENT).read_text())
    assert set(body["verdicts"]["tflite-int8"][0]) == {"gate", "bound", "found", "holds"}
    assert not {"decision", "shown_floors", "shown_ceilings", "min_members"} & set(body["gates"])


@pytest.mark.parametrize("change", ["margin", "why", "members"])
def test_a_decision_that_was_argued_otherwise_is_judged_anew(tmp_path: Path, change: str) -> None:
    decision: dict[str, object] = {"margins": {"dice": 0.1}, "why": WHY}
    held = {"tflite-int8": (Verdict(gate="decision.dice", bound=0.1, found=0.05, holds=True),)}
    keep_judgement(_card(Gates.model_validate({"decision": decision})), tmp_path, DIGESTS, held)
    hold_judgement(_card(Gates.model_validate({"decision": decision})), tmp_path, DIGESTS)
    other: dict[str, object] = {
        "margin": {"decision": decision | {"margins": {"dice": 0.2}}},
        "why": {"decision": decision | {"why": WHY + " Or three."}},
        "members": {"decision": decision, "min_members": 3},
    }[change]
    with pytest.raises(GateFailed) as caught:
        hold_judgement(_card(Gates.model_validate(other)), tmp_path, DIGESTS)
    assert caught.value.code == "gate.not-judged"
