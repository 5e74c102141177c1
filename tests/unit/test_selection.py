"""Selection: every way to be chosen, and every way not to be, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgeai.api import BackendUnavailable, ModelRejected, PluginFault
from edgeai.selection import AUTO, Candidate, Choice, Offer, Wish, choose


@dataclass(frozen=True)
class Artifact:
    id: str
    format: str
    precision: str = "fp32"


TFLITE = Offer(backend="tflite", artifact_format="tflite", devices=("CPU",), engine="ai-edge-litert 2.3.0", rank=10)
OPENVINO = Offer(
    backend="openvino", artifact_format="openvino", devices=("GPU.0", "CPU"), engine="openvino 2026.4", rank=20
)
GPU = Offer(
    backend="gpu", artifact_format="savedmodel", devices=(), engine="tensorflow 2.21", why="no CUDA driver", rank=30
)
ABSENT = Offer(backend="tflite", artifact_format="tflite", devices=(), why="No module named ai_edge_litert")
OFFERS = (GPU, OPENVINO, TFLITE)
ARTIFACTS = (Artifact("lite", "tflite"), Artifact("ir16", "openvino", "fp16"), Artifact("ir32", "openvino"))


def _triples(choice: Choice) -> list[tuple[str, str, str]]:
    return [(c.backend, c.device, c.artifact) for c in choice.candidates]


def test_the_first_wish_is_taken_and_nothing_is_degraded() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="openvino"), Wish(backend="tflite")])
    assert choice.taken == Candidate(backend="openvino", device="GPU.0", artifact="ir16", precision="fp16")
    assert (choice.backend, choice.device, choice.artifact) == ("openvino", "GPU.0", "ir16")
    assert choice.degraded is None


def test_candidates_follow_wish_then_device_then_the_manifest() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="openvino"), Wish(backend="tflite")])
    assert _triples(choice) == [
        ("openvino", "GPU.0", "ir16"),
        ("openvino", "GPU.0", "ir32"),
        ("openvino", "CPU", "ir16"),
        ("openvino", "CPU", "ir32"),
        ("tflite", "CPU", "lite"),
    ]


@pytest.mark.parametrize("wishes", [(), (Wish(backend=AUTO),)])
def test_auto_takes_the_smallest_engine_first(wishes: tuple[Wish, ...]) -> None:
    other = Offer(backend="aaa", artifact_format="tflite", devices=("NPU",), engine="aaa 1")
    choice = choose((*OFFERS, other), ARTIFACTS, wishes)
    assert [backend for backend, _, _ in _triples(choice)] == ["tflite", *["openvino"] * 4, "aaa"]
    assert choice.degraded is None


def test_auto_is_not_degraded_by_what_is_not_there() -> None:
    choice = choose((ABSENT, OPENVINO), ARTIFACTS)
    assert choice.backend == "openvino"
    assert choice.degraded is None
    assert "tflite: its engine is not installed: No module named ai_edge_litert" in choice.why_not()


def test_auto_is_degraded_by_an_exclusion() -> None:
    choice = choose(OFFERS, ARTIFACTS, excluded={"tflite": "died three times at open"})
    assert choice.backend == "openvino"
    assert choice.degraded is not None
    assert choice.degraded.wished == "auto"
    assert choice.degraded.because == ("tflite: excluded: died three times at open",)


def test_auto_after_a_wish_means_all_the_rest() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="openvino", device="CPU", artifact="ir32"), Wish(backend=AUTO)])
    triples = _triples(choice)
    assert triples[:2] == [("openvino", "CPU", "ir32"), ("tflite", "CPU", "lite")]
    assert ("openvino", "GPU.0", "ir16") in triples
    assert len(triples) == len(set(triples))


def test_a_named_wish_that_is_passed_over_degrades() -> None:
    choice = choose(
        OFFERS, ARTIFACTS, [Wish(backend="gpu"), Wish(backend="openvino", device="NPU"), Wish(backend=AUTO)]
    )
    assert choice.taken.device == "NPU"  # composite and hidden device names are the engine's to judge
    assert choice.degraded is not None
    assert choice.degraded.wished == "gpu"
    assert choice.degraded.because == ("gpu: it finds no device here: no CUDA driver",)


def test_what_was_refused_behind_the_choice_does_not_degrade() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="tflite"), Wish(backend="gpu")])
    assert choice.degraded is None
    assert any(reason.startswith("gpu:") for reason in choice.why_not())


def test_a_backend_that_nobody_wished_for_is_never_taken() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="tflite")])
    assert _triples(choice) == [("tflite", "CPU", "lite")]
    assert "openvino: not among the wishes" in choice.why_not()


def test_a_named_device_is_offered_even_where_probe_lists_none() -> None:
    artifacts = (Artifact("saved", "savedmodel"),)
    choice = choose(OFFERS, artifacts, [Wish(backend="gpu", device="CPU")])
    assert _triples(choice) == [("gpu", "CPU", "saved")]


def test_the_next_candidate_after_a_failure_and_why() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="openvino"), Wish(backend="tflite")])
    for _ in range(4):
        choice = choice.after(BackendUnavailable("no OpenCL platform"))
    assert choice.backend == "tflite"
    assert choice.degraded is not None
    assert choice.degraded.wished == "openvino"
    assert choice.degraded.because[0] == "openvino on GPU.0 with ir16: no OpenCL platform"
    assert len(choice.degraded.because) == 4


def test_waiting_candidates_are_in_why_not() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="tflite"), Wish(backend="openvino", device="CPU")])
    assert "openvino on CPU with ir16: stands behind tflite on CPU with lite" in choice.why_not()


def test_the_only_candidate_keeps_its_own_error() -> None:
    choice = choose(OFFERS, ARTIFACTS, [Wish(backend="tflite")])
    with pytest.raises(ModelRejected, match="unresolved custom op") as caught:
        choice.after(ModelRejected("unresolved custom op", code="backend.op", remedy="newer engine"))
    assert (caught.value.code, caught.value.remedy) == ("backend.op", "newer engine")
    assert "openvino: not among the wishes" in str(caught.value)


def test_when_all_have_failed_the_message_lists_all() -> None:
    choice = choose(
        OFFERS, ARTIFACTS, [Wish(backend="tflite"), Wish(backend="openvino", device="CPU", artifact="ir32")]
    )
    choice = choice.after(PluginFault("plugin 'tflite', open: ValueError"))
    with pytest.raises(BackendUnavailable) as caught:
        choice.after(ModelRejected("unsupported op"))
    assert caught.value.code == "backend.no-candidate"
    for part in ("tflite on CPU with lite: plugin 'tflite'", "openvino on CPU with ir32: unsupported op", "gpu: not"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("offers", "artifacts", "wishes", "excluded", "says"),
    [
        ((), ARTIFACTS, (), {}, "no backend is loaded"),
        (OFFERS, ARTIFACTS, [Wish(backend="tensorrt")], {}, "tensorrt: no loaded plugin provides this backend"),
        ((ABSENT,), ARTIFACTS, [Wish(backend="tflite")], {}, "engine is not installed: No module named"),
        ((ABSENT,), ARTIFACTS, [Wish(backend="tflite", device="CPU")], {}, "engine is not installed"),
        (OFFERS, (Artifact("s", "savedmodel"),), [Wish(backend="gpu")], {}, "finds no device here: no CUDA driver"),
        (OFFERS, (), [Wish(backend="tflite")], {}, "no artifact format 'tflite'; it has nothing"),
        (OFFERS, ARTIFACTS, [Wish(backend="gpu", device="CPU")], {}, "it has lite (tflite), ir16 (openvino)"),
        (OFFERS, ARTIFACTS, [Wish(backend="openvino", artifact="lite")], {}, "no artifact 'lite' in format 'openvino'"),
        (OFFERS, ARTIFACTS, [Wish(backend="tflite")], {"tflite": "quarantined"}, "tflite: excluded: quarantined"),
    ],
)
def test_no_candidate_says_why(offers, artifacts, wishes, excluded, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BackendUnavailable) as caught:
        choose(offers, artifacts, wishes, excluded)
    assert caught.value.code == "backend.no-candidate"
    assert says in str(caught.value)
    assert caught.value.remedy


def test_choosing_is_repeatable() -> None:
    wishes = [Wish(backend="openvino"), Wish(backend=AUTO)]
    assert choose(OFFERS, ARTIFACTS, wishes) == choose(tuple(reversed(OFFERS)), ARTIFACTS, wishes)
