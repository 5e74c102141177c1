"""Integers in TensorFlow Lite: what is inside, what stays in float and why, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from edgeai.api import ConversionFailed, TensorSpec
from edgeai.testing.keras_models import VALUES, classifier_request, wild_changes
from edgeai_tflite import CONVERTER


@pytest.fixture(scope="module")
def request_for(keras_models, calibration, tmp_path_factory):
    """``request_for(precision=..., ...)`` -> a request that converts the classifier into a folder of its own."""

    def made(**changes):
        usual = {"precision": "int8", "calibration": lambda: calibration}
        return classifier_request(keras_models, tmp_path_factory.mktemp("quantised"), **{**usual, **changes})

    return made


@pytest.fixture(scope="module")
def made(request_for):
    """The classifier in each precision."""
    return {name: CONVERTER.convert(request_for(precision=name)) for name in CONVERTER.precisions}


def _contents(artifact):
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(artifact))
    graph = model.subgraphs[0]
    kinds = Counter(flatbuffer_utils.opcode_to_name(model, one.opcodeIndex) for one in graph.operators)
    return model, graph, kinds


def test_int8_is_integers_between_float_borders(made):
    from ai_edge_litert.schema_py_generated import TensorType

    _, graph, kinds = _contents(made["int8"].artifact)
    assert kinds["QUANTIZE"] == 1
    assert kinds["DEQUANTIZE"] == 1
    borders = {int(index) for index in (*graph.inputs, *graph.outputs)}
    floats = {index for index, tensor in enumerate(graph.tensors) if tensor.type == TensorType.FLOAT32}
    assert floats == borders
    scales = [one.quantization.scale for one in graph.tensors if one.quantization]
    per_channel = [scale for scale in scales if scale is not None and len(scale) > 3]
    assert len(per_channel) >= 4  # weights and biases of both convolutions


def test_int16x8_has_activations_of_16_bits(made):
    from ai_edge_litert.schema_py_generated import TensorType

    _, graph, _ = _contents(made["int16x8"].artifact)
    assert {graph.tensors[one.outputs[0]].type for one in graph.operators[:-1]} == {TensorType.INT16}


def test_integers_are_smaller_and_say_what_they_are(made):
    sizes = {name: one.artifact.stat().st_size for name, one in made.items()}
    assert max(sizes[name] for name in ("dynamic", "int8", "int16x8")) < 0.6 * sizes["fp32"]
    assert "calibrated on 32 samples" in made["int8"].notes
    assert any("int8 per channel" in note for note in made["dynamic"].notes)
    assert {"first", "second", "probabilities"} <= set(made["int8"].layers)
    assert 0 < made["int16x8"].layers["first"] < made["int8"].layers["first"] < 0.05


def test_layers_have_their_keras_names_although_tensorflow_numbers_them(keras, request_for, tmp_path):
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 1), name="image")
    x = image
    for filters in (4, 5, 6):  # conv2d, conv2d_1, conv2d_2, which TensorFlow calls conv2d_1, conv2d_1_2, conv2d_2_1
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(filters, 3)(x)))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    model.save(tmp_path / "unnamed.keras")
    converted = CONVERTER.convert(request_for(model=tmp_path / "unnamed.keras"))
    assert {"conv2d", "conv2d_1", "conv2d_2", "global_average_pooling2d", "dense"} <= set(converted.layers)
    kept = CONVERTER.convert(request_for(model=tmp_path / "unnamed.keras", options={"keep_float": ["re_lu_1"]}))
    assert kept.layers["conv2d"] == converted.layers["conv2d"]
    assert kept.layers["conv2d_1"] < converted.layers["conv2d_1"]
    last = CONVERTER.convert(request_for(model=tmp_path / "unnamed.keras", options={"keep_float": ["dense"]}))
    changed = {name for name, error in last.layers.items() if error != converted.layers[name]}
    assert changed == {"dense"}


def test_a_fresh_process_gives_the_same_bytes(made, keras_models, calibration, in_a_child, tmp_path):
    np.savez(tmp_path / "calibration.npz", *[sample["image"] for sample in calibration])
    code = """
import sys, numpy as np
from pathlib import Path
from edgeai.api import ConvertRequest, TensorSpec
from edgeai_tflite import CONVERTER
with np.load(sys.argv[2]) as arrays:
    samples = [{"image": arrays[name]} for name in arrays.files]
for precision in CONVERTER.precisions:
    output = Path(sys.argv[3]) / precision
    output.mkdir()
    CONVERTER.convert(ConvertRequest(
        model=Path(sys.argv[1]), output=output, precision=precision, calibration=lambda: samples,
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 3)),)))
"""
    done = in_a_child(code, keras_models / "classifier.keras", tmp_path / "calibration.npz", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for precision, one in made.items():
        assert (tmp_path / precision / "model.tflite").read_bytes() == one.artifact.read_bytes(), precision


def test_two_inputs_keep_their_names_and_order(request_for, keras_models, specs, open_artifact, golden):
    known = golden("two_heads")
    samples = [{"age": known["age"][n : n + 1], "image": known["image"][n : n + 1]} for n in range(4)]
    inputs, outputs = (specs.age, specs.image), (specs.value, specs.probabilities)
    converted = CONVERTER.convert(
        request_for(model=keras_models / "two_heads.keras", inputs=inputs, outputs=outputs, calibration=lambda: samples)
    )
    answers = open_artifact(converted.artifact, inputs, outputs).run(samples[1])
    np.testing.assert_allclose(answers["probabilities"], known["probabilities"][1:2], atol=0.05)
    np.testing.assert_allclose(answers["value"], known["value"][1:2], atol=0.1)
    assert any("few" in note for note in converted.notes)


def test_an_open_batch_stays_open(request_for, specs, open_artifact, golden):
    converted = CONVERTER.convert(request_for(inputs=(specs.images,), outputs=(specs.many,)))
    session = open_artifact(converted.artifact, (specs.images,), (specs.many,))
    known = golden("classifier")
    answers = session.run({"image": known["image"]})["probabilities"]
    np.testing.assert_allclose(answers, known["probabilities"], atol=0.03)


def test_depthwise_convolutions_stay_in_float_where_int8_weights_would_slow_them(keras, request_for, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=8, name="spread")(keras.layers.Conv2D(8, 3)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(image, keras.layers.Dense(3)(x)).save(tmp_path / "depthwise.keras")
    converted = CONVERTER.convert(request_for(model=tmp_path / "depthwise.keras", precision="dynamic"))
    from ai_edge_litert.schema_py_generated import TensorType
    from tensorflow.lite.tools import flatbuffer_utils

    model, graph, _ = _contents(converted.artifact)
    weights = {
        flatbuffer_utils.opcode_to_name(model, one.opcodeIndex): graph.tensors[one.inputs[1]].type
        for one in graph.operators
    }
    assert weights["DEPTHWISE_CONV_2D"] == TensorType.FLOAT32
    assert weights["CONV_2D"] == TensorType.INT8
    assert any("depthwise" in note for note in converted.notes)


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_a_recurrent_layer_is_refused_by_name_with_what_to_use_instead(keras, request_for, tmp_path, precision):
    rows = keras.Input((6, 4), name="rows")
    keras.Model(rows, keras.layers.Dense(3)(keras.layers.GRU(5, name="memory")(rows))).save(tmp_path / "gru.keras")
    spec = TensorSpec(name="rows", dtype="float32", shape=(1, 6, 4))
    samples = [{"rows": np.ones((1, 6, 4), "float32")}]
    changes = {"model": tmp_path / "gru.keras", "inputs": (spec,), "calibration": lambda: samples}
    with pytest.raises(ConversionFailed, match="'memory'") as caught:
        CONVERTER.convert(request_for(precision=precision, **changes))
    assert caught.value.code == "convert.layer-unsupported"
    assert "dynamic or fp16" in (caught.value.remedy or "")
    assert CONVERTER.convert(request_for(precision="dynamic", **changes)).artifact.exists()


def test_an_unrolled_recurrent_layer_can_be_integers(keras, request_for, tmp_path, open_artifact):
    rows = keras.Input((6, 4), name="rows")
    model = keras.Model(rows, keras.layers.Dense(3)(keras.layers.GRU(5, unroll=True)(rows)))
    model.save(tmp_path / "gru.keras")
    spec = TensorSpec(name="rows", dtype="float32", shape=(1, 6, 4))
    random = np.random.default_rng(4)
    samples = [{"rows": random.random((1, 6, 4)).astype("float32")} for _ in range(20)]
    converted = CONVERTER.convert(
        request_for(model=tmp_path / "gru.keras", inputs=(spec,), calibration=lambda: samples)
    )
    answers = open_artifact(converted.artifact, (spec,), (replace(VALUES, name="probabilities"),)).run(samples[3])
    wanted = np.asarray(model(samples[3]["rows"], training=False))
    np.testing.assert_allclose(answers["probabilities"], wanted, atol=0.1)


def test_biases_are_corrected_where_the_recipe_asks_and_the_notes_say_which(made, request_for):
    request = request_for(options={"correct_bias": True})
    corrected = CONVERTER.convert(request)
    (note,) = [note for note in corrected.notes if "corrected" in note]
    assert note.startswith("biases corrected on the calibration samples: ")
    assert "by up to" in note
    assert corrected.artifact.read_bytes() != made["int8"].artifact.read_bytes()
    assert not [note for note in made["int8"].notes if "corrected" in note]
    again = CONVERTER.convert(request_for(options={"correct_bias": True}))
    assert again.artifact.read_bytes() == corrected.artifact.read_bytes()


def test_a_model_without_a_bias_to_correct_is_refused(keras, request_for, tmp_path):
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(2)(image))
    keras.Model(image, keras.layers.Dense(3, use_bias=False)(x)).save(tmp_path / "plain.keras")
    with pytest.raises(ConversionFailed, match="no layer before an output has a bias") as caught:
        CONVERTER.convert(request_for(model=tmp_path / "plain.keras", options={"correct_bias": True}))
    assert caught.value.code == "convert.options"


# --- layers in float ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wild(keras, request_for, tmp_path_factory):
    """``wild(**changes)`` -> a request for a model with one channel 400 times the others, and ``.score`` set."""
    return partial(request_for, **wild_changes(keras, tmp_path_factory.mktemp("wild")))


def test_layers_stay_in_float_until_the_score_holds_and_are_named(wild, open_artifact, specs):
    lines = []
    request = wild(max_drop=0.05, progress=lines.append)
    plain = CONVERTER.convert(wild())
    held = CONVERTER.convert(request)
    scores = {
        name: request.score(open_artifact(one.artifact, (specs.image,), (VALUES,)).run)
        for name, one in (("plain", plain), ("held", held))
    }
    assert scores["plain"] < -0.5
    assert scores["held"] >= -0.05
    assert "kept in float: wild, after" in held.notes
    assert held.layers["after"] < 0.1 < plain.layers["after"]
    assert any("wild" in step for step in lines)


def test_a_score_that_does_hold_keeps_nothing_in_float(wild):
    assert not [note for note in CONVERTER.convert(wild(max_drop=10.0)).notes if "float" in note]


@pytest.mark.parametrize("most", [0, 1])
def test_a_drop_that_cannot_be_held_is_refused_with_the_worst_layers(wild, most):
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(wild(max_drop=0.05, options={"max_float_layers": most}))
    assert caught.value.code == "convert.quantisation-drop"
    assert f"with {most} layers in float, worst: {'wild' if most else 'none'}" in str(caught.value)
    assert "max_float_layers" in (caught.value.remedy or "")


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_layers_that_the_recipe_names_stay_in_float(wild, precision):
    from ai_edge_litert.schema_py_generated import TensorType

    converted = CONVERTER.convert(wild(precision=precision, options={"keep_float": ["calm"]}))
    _, graph, _ = _contents(converted.artifact)
    kernels = {
        graph.tensors[one.outputs[0]].name.decode(): graph.tensors[one.inputs[1]].type
        for one in graph.operators
        if len(one.inputs) == 3
    }
    in_float = [name for name, kind in kernels.items() if kind == TensorType.FLOAT32]
    assert len(in_float) == 1
    assert "calm" in in_float[0]
    assert "kept in float: calm" in converted.notes


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"keep_float": ["clam"]}, "convert.layer-unknown"),
        ({"keep_float": ["image"]}, "convert.layer-unknown"),
        ({"keep_float": "calm"}, "convert.options"),
        ({"max_float_layers": -1}, "convert.options"),
        ({"max_float_layers": 1.5}, "convert.options"),
        ({"correct_bias": 1}, "convert.options"),
    ],
)
def test_options_that_mean_nothing_are_refused(wild, options, code):
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(wild(options=options))
    assert caught.value.code == code
    assert caught.value.remedy


def test_two_views_are_int8_and_their_weights_are_there_once(
    keras, request_for, calibration, open_artifact, specs, tmp_path
):
    """As Keras answers, nearly; a mirrored picture has the answer mirrored; the file grows by operations alone."""
    from edgeai_keras.architectures import build
    from edgeai_keras.saving import save
    from edgeai_keras.views import VIEWS, of_views

    keras.utils.set_random_seed(3)
    network = build("unet", size=16, filters=24, depth=2, shrink=2)
    models = {"one": network, "two": of_views(network, VIEWS["horizontal"])}
    logits = (TensorSpec(name="logits", dtype="float32", shape=(1, 16, 16, 1)),)
    sizes = {}
    for name, model in models.items():
        save(model, tmp_path / f"{name}.keras")
        changes = {"model": tmp_path / f"{name}.keras", "outputs": logits, "options": {"correct_bias": True}}
        artifact = CONVERTER.convert(request_for(**changes)).artifact
        sizes[name] = artifact.stat().st_size
    assert sizes["two"] < 1.1 * sizes["one"]
    session = open_artifact(artifact, (specs.image,), logits)
    image = calibration[0]["image"]  # of the range that it was calibrated on
    answer, mirrored = (session.run({"image": x})["logits"] for x in (image, np.ascontiguousarray(image[:, :, ::-1])))
    wanted = np.asarray(models["two"](image))
    tolerance = 0.1 * float(np.ptp(wanted))
    np.testing.assert_allclose(answer, wanted, atol=tolerance)
    np.testing.assert_allclose(mirrored[:, :, ::-1], answer, atol=tolerance)
