"""The tflite backend, on whichever runtime EDGEAI_TFLITE_ENGINE names; see conftest.py."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import (
    BackendUnavailable,
    ConfigError,
    InferenceFailed,
    ModelRejected,
    SessionClosed,
    TensorMismatch,
    TensorSpec,
)
from edgeai_tflite import BACKEND

TOLERANCE = 1e-5
FP16_TOLERANCE = 2e-3


def test_probe_offers_the_cpu_and_engine_says_which_with_version():
    assert [device.name for device in BACKEND.probe()] == ["CPU"]
    name, version = BACKEND.engine().split()
    assert name in ("ai-edge-litert", "tflite-runtime")
    assert version[0].isdigit()
    assert BACKEND.explain() == ""


def test_registering_and_probing_import_no_runtime(in_a_child):
    code = (
        "import sys; from edgeai_tflite import BACKEND; BACKEND.probe(); BACKEND.engine(); BACKEND.explain();"
        "sys.exit(any(m.split('.')[0] in ('ai_edge_litert', 'tflite_runtime', 'tensorflow') for m in sys.modules))"
    )
    assert in_a_child(code).returncode == 0


@pytest.mark.parametrize(("name", "tolerance"), [("classifier", TOLERANCE), ("classifier_fp16", FP16_TOLERANCE)])
@pytest.mark.parametrize("xnnpack", [True, False])
def test_agrees_with_keras(open_artifact, specs, golden, name, tolerance, xnnpack):
    known = golden("classifier")
    session = open_artifact(f"{name}.tflite", (specs.image,), (specs.probabilities,), settings={"xnnpack": xnnpack})
    for image, wanted in zip(known["image"], known["probabilities"], strict=True):
        outputs = session.run({"image": image[np.newaxis]})
        assert list(outputs) == ["probabilities"]
        assert outputs["probabilities"].dtype == np.float32
        np.testing.assert_allclose(outputs["probabilities"][0], wanted, atol=tolerance)


def test_names_lead_whatever_the_order(open_artifact, specs, golden):
    known = golden("two_heads")
    session = open_artifact("two_heads.tflite", (specs.image, specs.age), (specs.probabilities, specs.value))
    outputs = session.run({"age": known["age"][:1], "image": known["image"][:1]})
    assert list(outputs) == ["probabilities", "value"]
    np.testing.assert_allclose(outputs["probabilities"], known["probabilities"][:1], atol=TOLERANCE)
    np.testing.assert_allclose(outputs["value"], known["value"][:1], atol=1e-4)


def test_the_manifests_names_are_used_where_the_engine_has_others(open_artifact, specs, golden):
    known = golden("classifier")
    inputs, outputs = (replace(specs.image, name="x"),), (replace(specs.probabilities, name="y"),)
    session = open_artifact("classifier.tflite", inputs, outputs)
    np.testing.assert_allclose(session.run({"x": known["image"][:1]})["y"], known["probabilities"][:1], atol=TOLERANCE)


def test_half_known_names_are_refused_and_not_guessed(open_artifact, specs):
    with pytest.raises(ModelRejected, match="probabilities"):
        open_artifact(
            "two_heads.tflite", (specs.image, specs.age), (replace(specs.probabilities, name="other"), specs.value)
        )


def test_any_batch_runs_in_any_order_of_sizes(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("any_batch.tflite", (specs.images,), (specs.many,))
    for count in (1, 4, 2, 2, 1, 3):
        outputs = session.run({"image": known["image"][:count]})
        np.testing.assert_allclose(outputs["probabilities"], known["probabilities"][:count], atol=TOLERANCE)


def test_an_open_batch_may_be_declared_fixed_but_not_the_other_way(open_artifact, specs, golden):
    known = golden("classifier")
    four = (replace(specs.image, shape=(4, 16, 16, 1)),), (replace(specs.probabilities, shape=(4, 3)),)
    session = open_artifact("any_batch.tflite", *four)
    np.testing.assert_allclose(
        session.run({"image": known["image"]})["probabilities"], known["probabilities"], atol=TOLERANCE
    )
    with pytest.raises(TensorMismatch):
        session.run({"image": known["image"][:1]})
    with pytest.raises(ModelRejected, match="image"):
        open_artifact("classifier.tflite", (specs.images,), (specs.many,))


def test_an_empty_batch_is_refused_and_the_session_survives(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("any_batch.tflite", (specs.images,), (specs.many,))
    with pytest.raises(TensorMismatch):
        session.run({"image": known["image"][:0]})
    np.testing.assert_allclose(
        session.run({"image": known["image"][:2]})["probabilities"], known["probabilities"][:2], atol=TOLERANCE
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"image": np.zeros((1, 16, 16, 1), "float64")},
        {"image": np.zeros((1, 16, 16, 1), ">f4")},
        {"image": np.zeros((1, 16, 17, 1), "float32")},
        {"image": np.zeros((16, 16, 1), "float32")},
        {"image": [[0.0]]},
        {"image": np.zeros((1, 16, 16, 1), "float32"), "more": np.zeros(1, "float32")},
        {"picture": np.zeros((1, 16, 16, 1), "float32")},
    ],
)
def test_wrong_inputs_are_refused_and_the_session_survives(open_artifact, specs, golden, wrong):
    known = golden("classifier")
    session = open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,))
    with pytest.raises(TensorMismatch):
        session.run(wrong)
    right = session.run({"image": known["image"][:1]})
    np.testing.assert_allclose(right["probabilities"], known["probabilities"][:1], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"dtype": "uint8"}, {}),
        ({"shape": (1, 16, 16, 3)}, {}),
        ({"shape": (1, 16, 16), "layout": ""}, {}),
        ({}, {"dtype": "float16"}),
        ({}, {"shape": (1, 4)}),
        ({}, {"shape": (3,)}),
    ],
)
def test_other_tensors_than_declared_are_refused_at_opening(open_artifact, specs, inputs, outputs):
    with pytest.raises(ModelRejected) as caught:
        open_artifact(
            "classifier.tflite", (replace(specs.image, **inputs),), (replace(specs.probabilities, **outputs),)
        )
    assert caught.value.code == "backend.tensors-differ"
    assert caught.value.remedy


@pytest.mark.parametrize("device", ["GPU", "NPU", "cpu", "", "CPU "])
def test_another_device_is_refused(open_artifact, specs, device):
    with pytest.raises(BackendUnavailable) as caught:
        open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,), device=device)
    assert caught.value.code == "backend.unknown-device"


@pytest.mark.parametrize(
    "settings", [{"engine": "tensorrt"}, {"xnnpack": "yes"}, {"xnnpack": 1}, {"xnpack": True}, {"engine": None}]
)
def test_a_wrong_setting_is_named(open_artifact, specs, settings):
    with pytest.raises(ConfigError) as caught:
        open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,), settings=settings)
    assert caught.value.code == "config.backend-setting"
    assert next(iter(settings)) in str(caught.value)


def test_an_unknown_option_or_signature_is_refused(open_artifact, specs):
    for options in ({"signiture": "x"}, {"signature": "no_such"}):
        with pytest.raises(ModelRejected):
            open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,), options=options)


def test_an_operator_that_the_runtime_lacks_is_named_in_the_engines_words(open_artifact, specs):
    with pytest.raises(ModelRejected, match="Didn't find op for builtin opcode 'CONV_2D' version '99'") as caught:
        open_artifact("newer.tflite", (specs.image,), (specs.probabilities,))
    assert caught.value.code == "backend.op-unsupported"
    assert "litert" in (caught.value.remedy or "")


def test_a_missing_file_and_a_folder_are_refused(open_artifact, specs, tmp_path):
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(ModelRejected) as caught:
            open_artifact(path, (specs.image,), (specs.probabilities,))
        assert caught.value.code == "backend.artifact-missing"


_OPEN_TRUNCATED = """
import json, random, sys
from pathlib import Path
from edgeai.api import EdgeaiError, OpenRequest, TensorSpec
from edgeai_tflite import BACKEND
source, copy, engine = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), sys.argv[3]
image = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1))
output = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))
sizes = {0, 1, 7, 8, 15, 16, len(source) - 1, len(source) - 4, *random.Random(3).sample(range(len(source)), 120)}
outcomes = {}
for size in sorted(sizes):
    copy.write_bytes(source[:size])
    try:
        BACKEND.open(OpenRequest(artifact=copy, device="CPU", inputs=(image,), outputs=(output,),
                                 settings={"engine": engine})).close()
        outcomes[size] = "opened"
    except EdgeaiError as error:
        outcomes[size] = error.code
print(json.dumps(outcomes))
"""


def test_no_truncated_file_crashes_the_process(artifacts, engine_name, in_a_child, tmp_path):
    child = in_a_child(_OPEN_TRUNCATED, artifacts / "classifier.tflite", tmp_path / "cut.tflite", engine_name)
    assert child.returncode == 0, f"the process died: {child.stderr[-500:]}"
    outcomes = json.loads(child.stdout.splitlines()[-1])
    assert len(outcomes) > 120
    assert set(outcomes.values()) <= {"backend.artifact-damaged", "backend.model-rejected"}, outcomes


def test_outputs_belong_to_the_caller(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,))
    first = session.run({"image": known["image"][:1]})["probabilities"]
    kept = first.copy()
    session.run({"image": known["image"][1:2]})
    np.testing.assert_array_equal(first, kept)
    first[...] = 9
    np.testing.assert_array_equal(session.run({"image": known["image"][:1]})["probabilities"], kept)


def test_stream_is_run_in_order_and_lazy(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,))
    taken = []

    def images():
        for index in range(4):
            taken.append(index)
            yield {"image": known["image"][index : index + 1]}

    stream = session.stream(images())
    np.testing.assert_allclose(next(stream)["probabilities"][0], known["probabilities"][0], atol=TOLERANCE)
    assert taken == [0]
    rest = [outputs["probabilities"][0] for outputs in stream]
    np.testing.assert_allclose(rest, known["probabilities"][1:], atol=TOLERANCE)


def test_a_closed_session_says_so(open_artifact, specs, golden):
    session = open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,))
    image = {"image": golden("classifier")["image"][:1]}
    stream = session.stream([image, image])
    next(stream)
    session.close()
    session.close()
    with pytest.raises(SessionClosed):
        session.run(image)
    with pytest.raises(SessionClosed):
        session.stream([image])
    with pytest.raises(SessionClosed):
        next(stream)


def test_a_failing_run_keeps_the_engines_words(open_artifact, specs, golden):
    session = open_artifact("any_batch.tflite", (specs.images,), (specs.many,))
    # The shapes fit and the memory does not: a view that repeats one image, as a mistake in a host might.
    huge = np.broadcast_to(golden("classifier")["image"][:1], (2**40, 16, 16, 1))
    with pytest.raises(InferenceFailed) as caught:
        session.run({"image": huge})
    assert BACKEND.engine().split()[0] in str(caught.value)
    assert session.run({"image": golden("classifier")["image"][:1]})["probabilities"].shape == (1, 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_variable_is_forgotten_before_the_next_run(open_artifact, threads):
    rows, answer = (TensorSpec(name=name, dtype="float32", shape=(1, 4)) for name in ("rows", "answer"))
    session = open_artifact("stateful.tflite", (rows,), (answer,), threads=threads)
    inputs = [{"rows": np.full((1, 4), value, np.float32)} for value in (0.25, 0.25, 8.0, 0.25, 8.0)]
    wanted = [3.25, 3.25, 11.0, 3.25, 11.0]
    for _ in range(3):
        assert [session.run(one)["answer"][0, 0] for one in inputs] == wanted
        assert [outputs["answer"][0, 0] for outputs in session.stream(inputs)] == wanted


@pytest.mark.parametrize("name", ["mobilenet_v2_orange", "mnist_trained_lstm"])
def test_foreign_models_give_their_reference(open_artifact, data_kit, engine_name, name):
    # The reference is LiteRT's; tflite-runtime 2.14 rounds quantised layers otherwise, by up to 3 of 255 (measured).
    steps = 3 if engine_name == "tflite-runtime" else 1
    model, dtype, shapes, tolerance = {
        "mobilenet_v2_orange": ("mobilenet_v2_1.0_224_quant", "uint8", ((1, 224, 224, 3), (1, 1001)), steps),
        "mnist_trained_lstm": ("mnist_trained_lstm", "float32", ((1, 28, 28), (1, 10)), 1e-4),
    }[name]
    with np.load(data_kit / "models" / f"ref_{name}.npz") as known:
        given, wanted = known["input"], known["output"]
    source = (TensorSpec(name="input", dtype=dtype, shape=shapes[0]),)
    target = (TensorSpec(name="output", dtype=dtype, shape=shapes[1]),)
    session = open_artifact(data_kit / "models" / f"{model}.tflite", source, target)
    for index in range(len(given)):
        output = session.run({"input": given[index : index + 1]})["output"][0]
        np.testing.assert_allclose(output.astype("float64"), wanted[index].astype("float64"), atol=tolerance)
        assert output.argmax() == wanted[index].argmax()
