"""The gpu backend: on CPU, where it is named, and on CUDA devices where there are any."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import BackendUnavailable, ConfigError, InferenceFailed, ModelRejected, SessionClosed, TensorMismatch
from edgeai.testing.require import require
from edgeai_gpu import BACKEND, engine
from edgeai_gpu.engine import has_node

TOLERANCE = 1e-5
FP16_TOLERANCE = 5e-3


def test_without_a_cuda_device_it_says_why():
    if BACKEND.probe():
        assert BACKEND.explain() == ""
        return
    assert "tensorflow 2" in BACKEND.explain()
    assert "cuda" in BACKEND.explain().lower()


def test_a_device_node_without_a_device_is_explained_in_tensorflows_words(monkeypatch):
    if BACKEND.probe():
        pytest.skip("this machine has a CUDA device")
    monkeypatch.setattr(engine, "has_node", lambda: True)
    monkeypatch.setattr(engine, "_LIST_TIMEOUT_S", 900.0)
    reason = engine.explain.__wrapped__()  # what is remembered of this machine stays so
    assert "device node" not in reason
    assert "tensorflow 2" in reason
    assert "cuda" in reason.lower()


def test_loading_tensorflow_leaves_keras_out_and_importable(in_a_child):
    code = (
        "import sys; from importlib.util import find_spec; from edgeai_gpu.engine import load; load();"
        "sys.exit('keras' in sys.modules or find_spec('keras') is None)"
    )
    assert in_a_child(code).returncode == 0


def test_probing_without_a_device_node_imports_no_tensorflow(in_a_child):
    if has_node():
        pytest.skip("this machine shows an NVIDIA device node")
    code = (
        "import sys; from edgeai_gpu import BACKEND; BACKEND.probe(); BACKEND.engine(); BACKEND.explain();"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert in_a_child(code).returncode == 0


def test_a_cuda_device_agrees_with_keras(open_artifact, specs, golden):
    devices = BACKEND.probe()
    require("gpu", bool(devices), "no CUDA device here")
    known = golden("classifier")
    for device in devices:
        session = open_artifact("classifier", (specs.image,), (specs.probabilities,), device=device.name)
        output = session.run({"image": known["image"][:1]})["probabilities"]
        np.testing.assert_allclose(output, known["probabilities"][:1], atol=TOLERANCE)


@pytest.mark.parametrize(("name", "tolerance"), [("classifier", TOLERANCE), ("classifier_fp16", FP16_TOLERANCE)])
@pytest.mark.parametrize("xla", [True, False])
def test_cpu_that_is_named_agrees_with_keras(open_artifact, specs, golden, name, tolerance, xla):
    known = golden("classifier")
    session = open_artifact(name, (specs.image,), (specs.probabilities,), settings={"xla": xla})
    assert session.device == "CPU"
    for image, wanted in zip(known["image"], known["probabilities"], strict=True):
        output = session.run({"image": image[np.newaxis]})["probabilities"]
        assert output.dtype == np.float32
        np.testing.assert_allclose(output[0], wanted, atol=tolerance)


def test_cpu_is_not_probed():
    assert "CPU" not in [device.name for device in BACKEND.probe()]


def test_names_lead_whatever_the_order(open_artifact, specs, golden):
    known = golden("two_heads")
    session = open_artifact("two_heads", (specs.image, specs.age), (specs.probabilities, specs.value))
    outputs = session.run({"age": known["age"][:1], "image": known["image"][:1]})
    np.testing.assert_allclose(outputs["probabilities"], known["probabilities"][:1], atol=TOLERANCE)
    np.testing.assert_allclose(outputs["value"], known["value"][:1], atol=1e-4)


def test_two_outputs_under_other_names_are_refused_and_not_guessed(open_artifact, specs):
    with pytest.raises(ModelRejected, match="probabilities"):
        open_artifact(
            "two_heads",
            (specs.image, specs.age),
            (replace(specs.probabilities, name="a"), replace(specs.value, name="b")),
        )


def test_any_batch_runs_in_any_order_of_sizes(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("any_batch", (specs.images,), (specs.many,))
    for count in (1, 4, 2, 1):
        output = session.run({"image": known["image"][:count]})["probabilities"]
        np.testing.assert_allclose(output, known["probabilities"][:count], atol=TOLERANCE)
    with pytest.raises(TensorMismatch):
        session.run({"image": known["image"][:0]})


def test_stream_keeps_order_and_owes_what_went_before_an_error(open_artifact, specs, golden):
    known = golden("classifier")
    session = open_artifact("classifier", (specs.image,), (specs.probabilities,))
    inputs = [{"image": known["image"][n : n + 1]} for n in range(4)]
    got = [outputs["probabilities"][0] for outputs in session.stream(inputs)]
    np.testing.assert_allclose(got, known["probabilities"], atol=TOLERANCE)
    stream = session.stream([*inputs[:2], {}, inputs[3]])
    owed = [next(stream), next(stream)]
    with pytest.raises(TensorMismatch):
        next(stream)
    assert len(owed) == 2


def test_a_closed_session_says_so(open_artifact, specs, golden):
    image = {"image": golden("classifier")["image"][:1]}
    session = open_artifact("classifier", (specs.image,), (specs.probabilities,))
    stream = session.stream([image] * 4)
    next(stream)
    session.close()
    session.close()
    for call in (lambda: session.run(image), lambda: session.stream([image]), lambda: next(stream)):
        with pytest.raises(SessionClosed):
            call()


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [({"dtype": "uint8"}, {}), ({"shape": (1, 16, 16, 3)}, {}), ({}, {"dtype": "float16"}), ({}, {"shape": (1, 4)})],
)
def test_other_tensors_than_declared_are_refused_at_opening(open_artifact, specs, inputs, outputs):
    with pytest.raises(ModelRejected) as caught:
        open_artifact("classifier", (replace(specs.image, **inputs),), (replace(specs.probabilities, **outputs),))
    assert caught.value.code == "backend.tensors-differ"


@pytest.mark.parametrize("device", ["GPU", "GPU:7", "cpu", "", "CPU:0"])
def test_another_device_is_refused_with_the_reason(open_artifact, specs, device):
    with pytest.raises(BackendUnavailable) as caught:
        open_artifact("classifier", (specs.image,), (specs.probabilities,), device=device)
    assert caught.value.code == "backend.unknown-device"
    if not BACKEND.probe():
        assert "cuda" in str(caught.value).lower()


@pytest.mark.parametrize("settings", [{"xla": "on"}, {"tf32": 1}, {"memory": True}])
def test_a_wrong_setting_is_named(open_artifact, specs, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        open_artifact("classifier", (specs.image,), (specs.probabilities,), settings=settings)


def test_an_unknown_signature_is_refused(open_artifact, specs):
    with pytest.raises(ModelRejected, match="serving_default"):
        open_artifact("classifier", (specs.image,), (specs.probabilities,), options={"signature": "other"})


@pytest.fixture(scope="module")
def odd(keras, tmp_path_factory):
    """Saves ``function`` of a (1, 4) tensor ``x`` as a SavedModel with output ``y``."""
    import tensorflow as tf

    def save(function):
        module = tf.Module()
        module.weight = tf.Variable([1.0])
        module.serve = tf.function(
            lambda x: {"y": function(x) * module.weight}, input_signature=[tf.TensorSpec((1, 4), name="x")]
        )
        folder = tmp_path_factory.mktemp("odd")
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
        return folder

    return save


@pytest.fixture
def odd_specs(specs):
    """The tensors of what ``odd`` saves."""
    return (replace(specs.value, name="x", shape=(1, 4)),), (replace(specs.value, name="y", shape=(1, 4)),)


def test_an_operation_that_reaches_outside_is_refused(open_artifact, odd, odd_specs):
    import tensorflow as tf

    def reading(x):
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), "float32")

    with pytest.raises(ModelRejected, match="ReadFile") as caught:
        open_artifact(odd(reading), *odd_specs)
    assert caught.value.code == "backend.artifact-unsafe"


def test_what_xla_cannot_compile_is_refused_in_its_words_and_runs_without(open_artifact, odd, odd_specs):
    import tensorflow as tf

    def stringy(x):
        return tf.strings.to_number(tf.strings.as_string(x))

    folder = odd(stringy)
    with pytest.raises(ModelRejected, match="AsString") as caught:
        open_artifact(folder, *odd_specs)
    assert caught.value.code == "backend.op-unsupported"
    assert "xla = false" in (caught.value.remedy or "")
    session = open_artifact(folder, *odd_specs, settings={"xla": False})
    np.testing.assert_allclose(session.run({"x": np.full((1, 4), 2.5, "float32")})["y"], 2.5)


def test_a_failing_run_keeps_the_engines_words_and_the_session_survives(open_artifact, odd, odd_specs):
    import tensorflow as tf

    def picky(x):
        with tf.control_dependencies([tf.debugging.assert_less(x, 9.0, message="nine is too much")]):
            return tf.identity(x)

    session = open_artifact(odd(picky), *odd_specs, settings={"xla": False})
    with pytest.raises(InferenceFailed, match="nine is too much"):
        session.run({"x": np.full((1, 4), 10, "float32")})
    np.testing.assert_allclose(session.run({"x": np.full((1, 4), 2, "float32")})["y"], 2)


_OPEN_TRUNCATED = """
import json, random, sys
from pathlib import Path
from edgeai.api import EdgeaiError, OpenRequest, TensorSpec
from edgeai_gpu import BACKEND
folder = Path(sys.argv[1])
image = TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1))
output = TensorSpec(name="probabilities", dtype="float32", shape=(1, 3))
outcomes = {}
for part in (folder / "saved_model.pb", *sorted((folder / "variables").iterdir())):
    whole = part.read_bytes()
    sizes = {0, 1, len(whole) - 1, *random.Random(3).sample(range(len(whole)), 8)}
    for size in [*sorted(sizes), None]:
        part.unlink() if size is None else part.write_bytes(whole[:size])
        try:
            BACKEND.open(OpenRequest(artifact=folder, device="CPU", inputs=(image,), outputs=(output,))).close()
            outcomes[f"{part.name} {size}"] = "opened"
        except EdgeaiError as error:
            outcomes[f"{part.name} {size}"] = type(error).__name__
    part.write_bytes(whole)
print(json.dumps(outcomes))
"""


def test_no_truncated_or_missing_part_is_accepted_or_crashes_the_process(artifacts, in_a_child, tmp_path):
    shutil.copytree(artifacts["classifier"], tmp_path / "model")
    child = in_a_child(_OPEN_TRUNCATED, tmp_path / "model")
    assert child.returncode == 0, f"the process died: {child.stderr[-500:]}"
    outcomes = json.loads(child.stdout.splitlines()[-1])
    assert len(outcomes) > 30
    assert {case: what for case, what in outcomes.items() if what != "ModelRejected"} == {}
