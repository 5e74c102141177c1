"""Gates: what holds, what does not, and that packing cannot go around them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeai.api import ConfigError, GateFailed
from edgeai_workbench.card import Card, Gates
from edgeai_workbench.gates import (
    JUDGEMENT,
    Measured,
    Verdict,
    digest_of_folder,
    hold,
    hold_judgement,
    hold_size,
    judge,
    keep_judgement,
)

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
    ("bounds", "gate", "found", "holds"),
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
    bounds: dict[str, object], gate: str, found: float, holds: bool
) -> None:
    (verdict,) = judge(Gates.model_validate(bounds), IN_PARTS)
    assert (verdict.gate, verdict.found, verdict.holds) == (gate, found, holds)
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


@pytest.mark.parametrize(("most", "found", "fails"), [(None, 10, False), (10, 10, False), (10, 11, True)])
def test_a_file_that_is_too_large_is_refused(most: int | None, found: int, fails: bool) -> None:
    if not fails:
        hold_size(most, found, "x")
        return
    with pytest.raises(GateFailed, match="x has 11 bytes, the card allows 10") as caught:
        hold_size(most, found, "x")
    assert caught.value.code == "gate.too-large"


def _card(gates: Gates) -> Card:
    return Card.model_construct(gates=gates)


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
