"""The detector of two stages: what it proposes and looks at, worked out by hand; its training, and both converters."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from edgeai.api import CompressionFailed, CompressRequest, ConvertRequest, Objective, OpenRequest, TensorSpec
from edgeai.testing.require import require

pytest.importorskip("tensorflow")

SMALL = {"size": 32, "filters": 4, "depth": 2, "up": 0, "most": 8, "regions": 2, "samples": 3, "narrow": 4, "units": 8}
NAMES = ["proposals", "scores", "deltas", "grid"]


@pytest.fixture
def network():
    """One whose heads say something."""
    import keras

    from edgeai_keras.architectures import build

    keras.utils.set_random_seed(3)
    model = build("rcnn", **SMALL)
    random = np.random.default_rng(5)
    for name in ("heat", "distances", "scored", "moved"):
        kernel = model.get_layer(name).kernel
        kernel.assign(kernel.numpy() + random.normal(0, 0.3, kernel.shape))
    return model


def _pictures(count=4):
    return np.random.default_rng(7).random((count, 32, 32, 1), np.float32)


def test_its_outputs_have_names_and_fixed_shapes(network):
    assert network.output_names == NAMES
    assert [tensor.shape[1:] for tensor in network.outputs] == [(4, 4), (4, 1), (4, 4), (8, 8, 5)]
    proposals = np.asarray(network(_pictures())[0])
    assert ((proposals >= 0) & (proposals <= 1)).all()
    assert (proposals[..., 2:] >= proposals[..., :2]).all()


def test_each_region_proposes_what_its_hottest_place_says(network):
    proposing = network.get_layer("proposals")
    heat, distances = np.full((2, 8, 8, 1), -9, np.float32), np.ones((2, 8, 8, 4), np.float32)
    heat[:, 1, 2], distances[:, 1, 2] = 9, (2, 1, 3, 4)  # its centre is at 2.5, 1.5 of 8
    heat[1, 6, 5], distances[1, 6, 5] = 9, (1, 2, 1, 9)  # and this one's at 5.5, 6.5, which ends at the border
    proposals = np.asarray(proposing([heat, distances]))
    np.testing.assert_allclose(proposals[:, 0], [[0.5 / 8, 0.5 / 8, 5.5 / 8, 5.5 / 8]] * 2, atol=1e-5)
    np.testing.assert_allclose(proposals[1, 3], [4.5 / 8, 4.5 / 8, 6.5 / 8, 1], atol=1e-5)
    # Where nothing is hot, a region means its middle: places of one to each side about 6, 2.
    np.testing.assert_allclose(proposals[0, 1], [5 / 8, 1 / 8, 7 / 8, 3 / 8], atol=1e-5)


def test_what_it_looks_at_is_what_bilinear_sampling_gives(network):
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(2)
    features = random.random((2, 8, 8, 8), np.float32)
    boxes = np.array(
        [[[0.1, 0.2, 0.9, 0.6], [0.3, 0.3, 0.35, 0.4], [0, 0, 1, 1], [0.5, 0.25, 0.5, 0.25]]] * 2, np.float32
    )
    looked = np.asarray(network.get_layer("sampled")([features, boxes])).reshape(2, 4, 3, 3, 8)
    along = (np.arange(3) + 0.5) / 3
    for place, (x0, y0, x1, y1) in enumerate(boxes[0]):
        x, y = ((low + along * (high - low)) * 8 - 0.5 for low, high in ((x0, x1), (y0, y1)))
        at = np.meshgrid(y, x, indexing="ij")
        for channel in (0, 7):
            wanted = ndimage.map_coordinates(features[1, ..., channel], at, order=1, mode="nearest")
            np.testing.assert_allclose(looked[1, place, ..., channel], wanted, atol=1e-5)


def test_a_little_other_weights_move_what_is_proposed_by_little(network):
    """So that an engine that rounds otherwise gives the same proposals, in the same places."""
    before = np.asarray(network(_pictures())[0])
    heat = network.get_layer("heat").kernel
    heat.assign(heat.numpy() * 1.002)
    moved = np.abs(np.asarray(network(_pictures())[0]) - before).max()
    assert 0 < moved < 0.01


@pytest.mark.parametrize(
    ("options", "words"),
    [({"regions": 3}, "regions is 3"), ({"regions": 0}, "regions is 0"), ({"samples": 0}, "samples is 0")],
)
def test_what_cannot_be_is_said(options, words):
    from edgeai_keras.architectures import build

    with pytest.raises(ValueError, match=words):
        build("rcnn", **SMALL | options)


# --- training ---------------------------------------------------------------------------------


def _first_is_the_second(ops, truths, answers):
    """A loss that no output has by itself: the deltas are to be half of the scores, and the scores as is true."""
    off = answers["deltas"] - 0.5 * answers["scores"]
    return ops.mean(off * off, axis=(1, 2)) + ops.mean((answers["scores"] - truths["scores"]) ** 2, axis=(1, 2))


@pytest.fixture
def data(batches):
    zeros = {"proposals": (4, 4), "deltas": (4, 4), "grid": (8, 8, 5)}
    targets = {name: np.zeros((16, *shape), "float32") for name, shape in zeros.items()}
    return batches({"image": _pictures(16)}, {"scores": np.ones((16, 4, 1), "float32"), **targets}, 8)


def test_a_loss_of_all_outputs_together_is_learnt(network, data, tmp_path, monkeypatch):
    from edgeai_keras.training import fit, predict, save

    objective = Objective(loss="mine", together=_first_is_the_second)
    monkeypatch.setenv("EDGEAI_TRAINING_STATE", str(tmp_path / "state"))
    before = [layer.kernel.numpy() for layer in map(network.get_layer, ("scored", "heat"))]
    history = fit(network, objective=objective, train=data, validation=data, epochs=12, patience=12, learning_rate=0.02)
    assert history.validation_loss[-1] < 0.1 * history.validation_loss[0]
    answers = predict(network, {"image": _pictures(16)})
    assert np.abs(answers["scores"] - 1).mean() < 0.3
    assert np.abs(answers["deltas"] - 0.5).mean() < 0.3
    after = [layer.kernel.numpy() for layer in map(network.get_layer, ("scored", "heat"))]
    assert np.abs(after[0] - before[0]).max() > 0.01
    np.testing.assert_array_equal(after[1], before[1])  # no loss goes through what was proposed
    save(network, tmp_path / "trained.keras")
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_a_loss_that_reads_an_output_that_is_not_there_is_refused(network, data):
    from edgeai_keras.training import fit

    objective = Objective(loss="mine", together=lambda ops, truths, answers: ops.mean(answers["boxes"], axis=(1, 2)))
    with pytest.raises(CompressionFailed, match="reads output 'boxes', rcnn has proposals") as caught:
        fit(network, objective=objective, train=data, epochs=1, patience=1, learning_rate=0.01)
    assert caught.value.code == "compress.tensors-differ"


def test_where_outputs_are_looked_at_one_by_one_it_is_refused(network, data, tmp_path):
    from edgeai_keras.saving import save
    from edgeai_keras.specs import COMPRESSORS

    save(network, tmp_path / "a.keras")
    distil = next(spec for spec in COMPRESSORS if spec.name == "distil")
    request = CompressRequest(
        model=tmp_path / "a.keras",
        output=tmp_path / "b.keras",
        teacher=tmp_path / "a.keras",
        objective=Objective(loss="mine", from_logits=True, together=_first_is_the_second),
        train=data,
        validation=data,
        options={"epochs": 1},
    )
    with pytest.raises(CompressionFailed) as caught:
        distil.compress(request)
    assert caught.value.code == "compress.loss-unknown"


# --- converting -------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", ["edgeai_tflite", "edgeai_openvino"])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=pytest.mark.torture)])
def test_engines_answer_as_it_does_with_operations_of_their_own(network, plugin, precision, tmp_path):
    from edgeai_keras.saving import save
    from edgeai_keras.training import predict

    module = importlib.import_module(plugin)
    require(plugin, bool(module.BACKEND.probe()), module.BACKEND.explain())
    save(network, tmp_path / "a.keras")
    inputs = (TensorSpec(name="image", dtype="float32", shape=(1, 32, 32, 1)),)
    outputs = tuple(
        TensorSpec(name=name, dtype="float32", shape=(1, *tensor.shape[1:]))
        for name, tensor in zip(NAMES, network.outputs, strict=True)
    )
    (tmp_path / "out").mkdir()
    made = module.CONVERTER.convert(
        ConvertRequest(
            model=tmp_path / "a.keras",
            output=tmp_path / "out",
            precision=precision,
            inputs=inputs,
            outputs=outputs,
            calibration=lambda: ({"image": picture[np.newaxis]} for picture in _pictures(16)),
        )
    )
    opened = OpenRequest(artifact=made.artifact, device="CPU", inputs=inputs, outputs=outputs, options=made.options)
    session = module.BACKEND.open(opened)
    try:
        for picture in _pictures(4):
            given = session.run({"image": picture[np.newaxis]})
            for name, wanted in predict(network, {"image": picture[np.newaxis]}).items():
                allowed = 1e-4 if precision == "fp32" else 0.03 if name == "proposals" else 0.15
                np.testing.assert_allclose(given[name], wanted, atol=allowed, err_msg=name)
    finally:
        session.close()
