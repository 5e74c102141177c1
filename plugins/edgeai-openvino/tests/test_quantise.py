"""OpenVINO in int8: what is inside, what stays in float and why, what is refused; and that nothing is sent anywhere."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from edgeai.api import ConversionFailed, TensorSpec
from edgeai.testing.keras_models import VALUES, classifier_request, wild_changes
from edgeai_openvino import CONVERTER
from edgeai_openvino.processor import X86, is_half, lacking
from edgeai_openvino.quantise import FULL, HALF
from edgeai_workbench.drawings import bright


@pytest.fixture(scope="module")
def request_for(keras_models, calibration, tmp_path_factory):
    """``request_for(precision=..., ...)`` -> a request that converts the classifier into a folder of its own."""

    def made(**changes):
        usual = {"precision": "int8", "calibration": lambda: calibration}
        return classifier_request(keras_models, tmp_path_factory.mktemp("quantised"), **{**usual, **changes})

    return made


@pytest.fixture(scope="module")
def int8(request_for):
    """The classifier in int8."""
    return CONVERTER.convert(request_for())


def test_weights_are_int8_between_float_borders(int8, artifacts, request_for):
    import openvino as ov

    model = ov.Core().read_model(int8.artifact)
    assert [port.get_element_type().to_string() for port in (*model.inputs, *model.outputs)] == ["f32", "f32"]
    assert [port.get_any_name() for port in (*model.inputs, *model.outputs)] == ["image", "probabilities"]
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert kinds.count("FakeQuantize") >= 3
    weights = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    assert sum(node.get_element_type().to_string() == "i8" for node in weights) == 3
    assert (
        int8.artifact.with_suffix(".bin").stat().st_size
        < 0.4 * artifacts["classifier"].with_suffix(".bin").stat().st_size
    )


def test_the_report_has_samples_and_errors_by_keras_layer(int8):
    assert int8.notes == ("calibrated on 32 samples", HALF)
    assert {"first", "second", "probabilities"} <= set(int8.layers)
    assert 0 < int8.layers["first"] < 0.05


def test_a_fresh_process_gives_the_same_bytes_and_has_no_telemetry(
    int8, keras_models, calibration, in_a_child, tmp_path
):
    np.savez(tmp_path / "calibration.npz", *[sample["image"] for sample in calibration])
    code = """
import socket, sys
def refuse(*args, **kwargs):
    raise SystemExit("the network was asked for")
socket.getaddrinfo = refuse
import numpy as np
from pathlib import Path
from edgeai.api import ConvertRequest, TensorSpec
from edgeai_openvino import CONVERTER
with np.load(sys.argv[2]) as arrays:
    samples = [{"image": arrays[name]} for name in arrays.files]
CONVERTER.convert(ConvertRequest(
    model=Path(sys.argv[1]), output=Path(sys.argv[3]), precision="int8", calibration=lambda: samples,
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1)),),
    outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 3)),)))
from nncf.telemetry.wrapper import NNCFTelemetry, telemetry
print("openvino_telemetry" in sys.modules, isinstance(telemetry, NNCFTelemetry))
"""
    output = tmp_path / "out"
    output.mkdir()
    done = in_a_child(code, keras_models / "classifier.keras", tmp_path / "calibration.npz", output)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "False False"
    for suffix in (".xml", ".bin"):
        assert (output / "model").with_suffix(suffix).read_bytes() == int8.artifact.with_suffix(suffix).read_bytes()


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


def test_an_open_batch_stays_open(request_for, specs, open_artifact, golden):
    converted = CONVERTER.convert(request_for(inputs=(specs.images,), outputs=(specs.many,)))
    known = golden("classifier")
    answers = open_artifact(converted.artifact, (specs.images,), (specs.many,)).run({"image": known["image"]})
    np.testing.assert_allclose(answers["probabilities"], known["probabilities"], atol=0.03)


def test_a_recurrent_layer_stays_in_float_and_the_report_says_so(keras, request_for, tmp_path):
    rows = keras.Input((6, 4), name="rows")
    keras.Model(rows, keras.layers.Dense(3)(keras.layers.GRU(5, name="memory")(rows))).save(tmp_path / "gru.keras")
    spec = TensorSpec(name="rows", dtype="float32", shape=(1, 6, 4))
    random = np.random.default_rng(4)
    samples = [{"rows": random.random((1, 6, 4)).astype("float32")} for _ in range(4)]
    converted = CONVERTER.convert(
        request_for(model=tmp_path / "gru.keras", inputs=(spec,), calibration=lambda: samples)
    )
    assert "in float, since they run as loops: memory" in converted.notes


# --- layers in float ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wild(keras, request_for, tmp_path_factory):
    """``wild(**changes)`` -> a request for a model with one channel 400 times the others, and ``.score`` set."""
    return functools.partial(request_for, **wild_changes(keras, tmp_path_factory.mktemp("wild")))


def test_the_layer_that_matters_goes_back_to_float_and_is_named(wild, open_artifact, specs):
    request = wild(max_drop=0.1)
    plain, held = CONVERTER.convert(wild()), CONVERTER.convert(request)
    scores = {
        name: request.score(open_artifact(one.artifact, (specs.image,), (VALUES,)).run)
        for name, one in (("plain", plain), ("held", held))
    }
    assert scores["plain"] < -0.5
    assert scores["held"] >= -0.1
    assert "kept in float: after" in held.notes
    assert held.layers["after"] < 0.1 < plain.layers["after"]


@pytest.mark.parametrize(("allowed", "most"), [(0.1, 0), (1e-9, 8)])
def test_a_drop_that_cannot_be_held_is_refused(wild, allowed, most):
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(wild(max_drop=allowed, options={"max_float_layers": most}))
    assert caught.value.code == "convert.quantisation-drop"
    assert caught.value.remedy


def _plane(level):
    return {"image": np.full((1, 16, 16, 1), level, "float32")}


@pytest.fixture(scope="module")
def mean(keras, tmp_path_factory):
    """A model that adds up brightness, so that every channel of a bright image is great; and its file."""
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer="ones")(image)
    x = keras.layers.Conv2D(3, 3, kernel_initializer="ones")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    path = tmp_path_factory.mktemp("mean") / "mean.keras"
    model.save(path)
    return model, path


@pytest.fixture(scope="module")
def converted(mean, request_for):
    """``converted(**options)`` -> that model in int8, calibrated on many dark images and a bright one; made once."""

    @functools.cache
    def made(*, bright_first=False, **options):
        samples = [_plane(0.1)] * 19
        samples.insert(0 if bright_first else 19, _plane(1.0))
        return CONVERTER.convert(
            request_for(model=mean[1], outputs=(VALUES,), calibration=lambda: samples, options=options)
        )

    return made


@pytest.fixture
def off(mean, converted, specs, open_artifact):
    """``off(image, **options)`` -> how far its answer is from Keras's, as a part of that."""

    def measured(image, **options):
        session = open_artifact(converted(**options).artifact, (specs.image,), (VALUES,))
        wanted = np.asarray(mean[0](image["image"], training=False))
        return float(np.abs(session.run(image)["values"] - wanted).max() / np.abs(wanted).max())

    return measured


def test_a_bright_image_among_many_is_not_cut_off(off):
    assert off(_plane(1.0)) < 0.1 * off(_plane(1.0), ranges="mean")


DRAWN = {"image": (bright(rows=16, columns=16) / 255).astype("float32")[None, ..., None]}
"""The picture of a bundle's golden case ``bright``."""


@pytest.mark.parametrize("image", [_plane(1.0), DRAWN], ids=["white", "golden"])
def test_a_bright_image_among_many_is_right_on_this_processor(off, image):
    assert off(image) < 0.02
    if lacking() == X86:  # none of the samples that are looked at overflows, so nobody notices
        assert off(image, overflow_fix="first-layer") > 0.2


def test_sums_that_are_seen_to_overflow_are_refused(converted):
    if lacking() != X86:
        assert converted(bright_first=True, overflow_fix="first-layer").artifact.is_file()
        return
    with pytest.raises(ConversionFailed) as caught:
        converted(bright_first=True, overflow_fix="first-layer")
    assert caught.value.code == "convert.arithmetic"
    assert "overflow_fix" in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "note"), [({}, HALF), ({"overflow_fix": "first-layer"}, FULL.format("first-layer"))]
)
def test_the_notes_say_which_range_the_weights_have(converted, options, note):
    import openvino as ov

    made = converted(**options)
    assert note in made.notes
    assert is_half(ov.Core().read_model(made.artifact)) == (note == HALF)


def test_layers_that_the_recipe_names_stay_in_float(wild):
    converted = CONVERTER.convert(wild(options={"keep_float": ["calm"], "fast_bias_correction": False}))
    assert "kept in float: calm" in converted.notes


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"keep_float": ["clam"]}, "convert.layer-unknown"),
        ({"keep_float": "calm"}, "convert.options"),
        ({"max_float_layers": True}, "convert.options"),
        ({"preset": "fast"}, "convert.options"),
        ({"ranges": ["min-max"]}, "convert.options"),
        ({"overflow_fix": "no"}, "convert.options"),
        ({"fast_bias_correction": 1}, "convert.options"),
        ({"ignored": []}, "convert.option-unknown"),
    ],
)
def test_options_that_mean_nothing_are_refused(wild, options, code):
    with pytest.raises(ConversionFailed) as caught:
        CONVERTER.convert(wild(options=options))
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize("threads", [1, 2])
def test_dense_layers_in_a_row_are_right_with_any_number_of_threads(
    keras, request_for, tmp_path, specs, open_artifact, threads
):
    """OpenVINO 2026.4 answers some of them with constants when it has one thread: such layers stay in float."""
    keras.utils.set_random_seed(11)
    image = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Conv2D(16, 3, strides=4, padding="same", activation="relu")(image))
    x = keras.layers.Dense(64, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(3, name="values")(x))
    model.save(tmp_path / "row.keras")
    random = np.random.default_rng(5)
    samples = [{"image": random.random((1, 16, 16, 1), np.float32) * bright} for bright in (0.2, 0.6, 1.0) * 3]
    output = tmp_path / "row"
    output.mkdir()
    request = request_for(
        model=tmp_path / "row.keras", output=output, outputs=(VALUES,), calibration=lambda: iter(samples)
    )
    session = open_artifact(CONVERTER.convert(request).artifact, (specs.image,), (VALUES,), threads=threads)
    answers = np.concatenate([session.run(sample)["values"] for sample in samples])
    wanted = np.concatenate([np.asarray(model(sample["image"], training=False)) for sample in samples])
    assert np.abs(answers - wanted).max() < 0.1 * np.abs(wanted).max()


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
        artifact = CONVERTER.convert(request_for(model=tmp_path / f"{name}.keras", outputs=logits)).artifact
        sizes[name] = artifact.with_suffix(".bin").stat().st_size
    assert sizes["two"] < 1.1 * sizes["one"]
    session = open_artifact(artifact, (specs.image,), logits)
    image = calibration[0]["image"]  # of the range that it was calibrated on
    answer, mirrored = (session.run({"image": x})["logits"] for x in (image, np.ascontiguousarray(image[:, :, ::-1])))
    wanted = np.asarray(models["two"](image))
    tolerance = 0.1 * float(np.ptp(wanted))
    np.testing.assert_allclose(answer, wanted, atol=tolerance)
    np.testing.assert_allclose(mirrored[:, :, ::-1], answer, atol=tolerance)
