"""The openvino backend on the devices of this machine."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import BackendUnavailable, ConfigError, InferenceFailed, ModelRejected, SessionClosed, TensorMismatch
from edgeai.testing.require import require
from edgeai_openvino import BACKEND

TOLERANCE = 1e-5
FP16_TOLERANCE = 2e-3


@pytest.fixture
def classifier(open_artifact, specs):
    """The classifier, open on the CPU."""
    return open_artifact("classifier", (specs.image,), (specs.probabilities,))


def test_probe_gives_the_engines_devices_and_auto_last():
    require("openvino", bool(BACKEND.probe()), BACKEND.explain())
    names = [device.name for device in BACKEND.probe()]
    assert "CPU" in names
    assert names[-1] == "AUTO"
    assert BACKEND.engine().startswith("openvino 20")


def test_no_usage_report_is_even_imported(in_a_child):
    require("openvino", bool(BACKEND.probe()), BACKEND.explain())
    code = (
        "import sys; from edgeai_openvino import BACKEND; assert 'openvino' not in sys.modules; BACKEND.probe();"
        "assert 'openvino' in sys.modules;"
        "sys.exit(any(m.startswith(('openvino_telemetry', 'openvino.tools.ovc')) for m in sys.modules))"
    )
    child = in_a_child(code)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize(("name", "tolerance"), [("classifier", TOLERANCE), ("classifier_fp16", FP16_TOLERANCE)])
@pytest.mark.parametrize("device", ["CPU", "AUTO"])
def test_agrees_with_keras(open_artifact, specs, golden, name, tolerance, device):
    known = golden("classifier")
    session = open_artifact(name, (specs.image,), (specs.probabilities,), device=device)
    assert session.device == device
    for image, wanted in zip(known["image"], known["probabilities"], strict=True):
        output = session.run({"image": image[np.newaxis]})["probabilities"]
        assert output.dtype == np.float32
        np.testing.assert_allclose(output[0], wanted, atol=tolerance)


def test_names_lead_whatever_the_order(open_artifact, specs, golden):
    known = golden("two_heads")
    session = open_artifact("two_heads", (specs.image, specs.age), (specs.probabilities, specs.value))
    outputs = session.run({"age": known["age"][:1], "image": known["image"][:1]})
    np.testing.assert_allclose(outputs["probabilities"], known["probabilities"][:1], atol=TOLERANCE)
    np.testing.assert_allclose(outputs["value"], known["value"][:1], atol=1e-4)


def test_the_converter_keeps_the_order_that_was_asked_for(open_artifact, specs, golden):
    """Wholly other names fall back on the order: age before image, value before probabilities."""
    known = golden("two_heads")
    inputs = (replace(specs.age, name="a"), replace(specs.image, name="b"))
    outputs = (replace(specs.value, name="c"), replace(specs.probabilities, name="d"))
    result = open_artifact("two_heads", inputs, outputs).run({"a": known["age"][:1], "b": known["image"][:1]})
    np.testing.assert_allclose(result["d"], known["probabilities"][:1], atol=TOLERANCE)


def test_half_known_names_are_refused_and_not_guessed(open_artifact, specs):
    with pytest.raises(ModelRejected, match="probabilities"):
        open_artifact("two_heads", (specs.image, specs.age), (replace(specs.probabilities, name="other"), specs.value))


def test_any_batch_runs_in_any_order_of_sizes(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("any_batch", (specs.images,), (specs.many,))
    for count in (1, 4, 2, 2, 1, 3):
        output = session.run({"image": known["image"][:count]})["probabilities"]
        np.testing.assert_allclose(output, known["probabilities"][:count], atol=TOLERANCE)
    with pytest.raises(TensorMismatch):
        session.run({"image": known["image"][:0]})


def test_an_open_batch_may_be_declared_fixed_but_not_the_other_way(open_artifact, specs, golden):
    known = golden("classifier")
    four = (replace(specs.image, shape=(4, 16, 16, 1)),), (replace(specs.probabilities, shape=(4, 3)),)
    output = open_artifact("any_batch", *four).run({"image": known["image"]})["probabilities"]
    np.testing.assert_allclose(output, known["probabilities"], atol=TOLERANCE)
    with pytest.raises(ModelRejected, match="image"):
        open_artifact("classifier", (specs.images,), (specs.many,))


@pytest.mark.parametrize("flight", [0, 1, 5])
def test_stream_keeps_order_takes_no_more_than_it_needs_and_copies_its_inputs(open_artifact, specs, golden, flight):
    known = golden("classifier")
    session = open_artifact("classifier", (specs.image,), (specs.probabilities,), settings={"requests": flight})
    buffer = np.empty((1, 16, 16, 1), "float32")
    taken = itertools.count()

    def images():
        for index in itertools.cycle(range(4)):
            next(taken)
            buffer[...] = known["image"][index]  # a host that reuses its buffer
            yield {"image": buffer}

    stream = session.stream(images())
    got = [next(stream)["probabilities"][0] for _ in range(22)]
    stream.close()
    np.testing.assert_allclose(got, known["probabilities"][np.arange(22) % 4], atol=TOLERANCE)
    assert next(taken) <= 22 + max(2, flight)
    assert session.run({"image": known["image"][:1]})["probabilities"].shape == (1, 3)


def test_an_error_in_a_stream_comes_after_what_is_owed(classifier, golden):
    image = golden("classifier")["image"][:1]

    def images():
        yield {"image": image}
        yield {"image": image}
        raise LookupError("no third image")

    got = []
    with pytest.raises(LookupError, match="no third image"):
        got.extend(iter_into(got, classifier.stream(images())))
    assert len(got) == 2
    got.clear()
    with pytest.raises(TensorMismatch):
        got.extend(iter_into(got, classifier.stream([{"image": image}, {"image": image[0]}, {"image": image}])))
    assert len(got) == 1


def iter_into(got, stream):
    for outputs in stream:
        got.append(outputs)
    return ()


def test_a_closed_session_says_so_even_in_a_stream(classifier, golden):
    image = {"image": golden("classifier")["image"][:1]}
    stream = classifier.stream([image] * 9)
    next(stream)
    classifier.close()
    classifier.close()
    with pytest.raises(SessionClosed):
        next(stream)
    with pytest.raises(SessionClosed):
        classifier.run(image)
    with pytest.raises(SessionClosed):
        classifier.stream([image])


def test_outputs_belong_to_the_caller(classifier, golden):
    known = golden("classifier")["image"]
    first = classifier.run({"image": known[:1]})["probabilities"]
    kept = first.copy()
    classifier.run({"image": known[1:2]})
    np.testing.assert_array_equal(first, kept)
    first[...] = 9
    np.testing.assert_array_equal(classifier.run({"image": known[:1]})["probabilities"], kept)


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
        open_artifact("classifier", (replace(specs.image, **inputs),), (replace(specs.probabilities, **outputs),))
    assert caught.value.code == "backend.tensors-differ"


@pytest.mark.parametrize("device", ["NO-SUCH", "GPU.7", "cpu", "", "AUTO:CPU", "MULTI:CPU", "HETERO:CPU"])
def test_another_device_is_refused(open_artifact, specs, device):
    with pytest.raises(BackendUnavailable, match="CPU") as caught:
        open_artifact("classifier", (specs.image,), (specs.probabilities,), device=device)
    assert caught.value.code == "backend.unknown-device"


@pytest.mark.parametrize(
    "settings", [{"hint": "LATENCY"}, {"precision": "fp32"}, {"requests": -1}, {"requests": 1.5}, {"streams": 2}]
)
def test_a_wrong_setting_is_named(open_artifact, specs, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))) as caught:
        open_artifact("classifier", (specs.image,), (specs.probabilities,), settings=settings)
    assert caught.value.code == "config.backend-setting"


def test_arithmetic_is_float32_unless_it_is_said_otherwise(open_artifact, specs):
    for settings, wanted in (({}, "f32"), ({"precision": "f32", "hint": "throughput"}, "f32")):
        session = open_artifact("classifier", (specs.image,), (specs.probabilities,), settings=settings)
        kind = session._compiled.model.get_property("INFERENCE_PRECISION_HINT")
        assert kind.get_type_name() == wanted
        assert session._compiled.model.get_property("INFERENCE_NUM_THREADS") == 1


def test_compiled_models_are_kept_only_where_a_cache_is_given(open_artifact, specs, golden, tmp_path):
    known = golden("classifier")
    for _ in range(2):
        session = open_artifact("classifier", (specs.image,), (specs.probabilities,), cache_dir=tmp_path)
        output = session.run({"image": known["image"][:1]})["probabilities"]
        np.testing.assert_allclose(output, known["probabilities"][:1], atol=TOLERANCE)
    kept = list(tmp_path.rglob("*.blob"))
    assert kept
    for blob in kept:  # a damaged cache costs time, and no answer
        blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    session = open_artifact("classifier", (specs.image,), (specs.probabilities,), cache_dir=tmp_path)
    output = session.run({"image": known["image"][:1]})["probabilities"]
    np.testing.assert_allclose(output, known["probabilities"][:1], atol=TOLERANCE)


@pytest.fixture
def copied(artifacts, tmp_path):
    """A copy of the classifier's IR, to damage."""
    for part in artifacts["classifier"].parent.iterdir():
        shutil.copy(part, tmp_path)
    return tmp_path / "model.xml"


def test_an_operation_that_openvino_lacks_is_refused_in_its_words(open_artifact, specs, copied):
    text = copied.read_text()
    assert 'type="SoftMax"' in text or 'type="Softmax"' in text
    copied.write_text(
        text.replace('type="SoftMax"', 'type="SoftestMax"').replace('type="Softmax"', 'type="SoftestMax"')
    )
    with pytest.raises(ModelRejected, match="SoftestMax") as caught:
        open_artifact(copied, (specs.image,), (specs.probabilities,))
    assert caught.value.code == "backend.op-unsupported"


def test_another_format_under_the_name_is_refused(open_artifact, specs, copied, tmp_path):
    onnx = tmp_path / "model.onnx"
    copied.rename(onnx)
    with pytest.raises(ModelRejected, match="not an OpenVINO IR"):
        open_artifact(onnx, (specs.image,), (specs.probabilities,))
    copied.write_text("<?xml version='1.0'?><svg/>")
    with pytest.raises(ModelRejected, match="not an OpenVINO IR"):
        open_artifact(copied, (specs.image,), (specs.probabilities,))


_OPEN_TRUNCATED = """
import json, random, sys
from pathlib import Path
from edgeai.api import EdgeaiError, OpenRequest, TensorSpec
from edgeai_openvino import BACKEND
xml = Path(sys.argv[1])
image = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1))
output = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))
outcomes = {}
for part in (xml, xml.with_suffix(".bin")):
    whole = part.read_bytes().rstrip(b"\\n") if part is xml else part.read_bytes()
    sizes = {0, 1, 4, len(whole) - 1, len(whole) - 4, *random.Random(3).sample(range(len(whole) - 9), 25)}
    for size in [*sorted(sizes), None]:
        part.unlink() if size is None else part.write_bytes(whole[:size])
        try:
            BACKEND.open(OpenRequest(artifact=xml, device="CPU", inputs=(image,), outputs=(output,))).close()
            outcomes[f"{part.suffix} {size}"] = "opened"
        except EdgeaiError as error:
            outcomes[f"{part.suffix} {size}"] = type(error).__name__
    part.write_bytes(whole)
print(json.dumps(outcomes))
"""


def test_no_truncated_or_missing_part_is_accepted_or_crashes_the_process(copied, in_a_child):
    child = in_a_child(_OPEN_TRUNCATED, copied)
    assert child.returncode == 0, f"the process died: {child.stderr[-500:]}"
    outcomes = json.loads(child.stdout.splitlines()[-1])
    assert len(outcomes) > 50
    assert {case: what for case, what in outcomes.items() if what != "ModelRejected"} == {}


def test_a_failing_run_keeps_the_engines_words(open_artifact, specs, golden):
    session = open_artifact("any_batch", (specs.images,), (specs.many,))
    huge = np.broadcast_to(golden("classifier")["image"][:1], (2**40, 16, 16, 1))
    with pytest.raises(InferenceFailed, match="openvino"):
        session.run({"image": huge})
    assert session.run({"image": golden("classifier")["image"][:1]})["probabilities"].shape == (1, 3)
