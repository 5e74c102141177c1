"""``watch``: one more output, and the others as they were."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import CompressionFailed, CompressRequest, Objective

pytest.importorskip("tensorflow")


@pytest.fixture
def network(keras):
    """``network(side)``: two activations, of 4 and of 6 channels; the second of half the side."""

    def build(side=9, inner=False):
        keras.utils.set_random_seed(8)
        image = keras.Input((side, side, 1), name="image")
        x = keras.layers.ReLU(name="one")(keras.layers.Conv2D(4, 3, padding="same", name="conv_1")(image))
        x = keras.layers.ReLU(name="two")(keras.layers.Conv2D(6, 3, strides=2, padding="same", name="conv_2")(x))
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        return keras.Model(image, keras.layers.Dense(2, name="logits")(x), name="small")

    return build


@pytest.fixture
def pictures():
    return np.random.default_rng(8).random((40, 9, 9, 1)).astype(np.float32)


@pytest.fixture
def watch(keras, tmp_path):
    """``watch(model, pictures)`` -> what was said, and the model that was written."""
    from edgeai_keras.model_file import load
    from edgeai_keras.saving import save
    from edgeai_keras.watch import compress

    def made(model, pictures, **options):
        save(model, tmp_path / "one.keras")
        batches = None if pictures is None else lambda: [({"image": part}, {}) for part in np.split(pictures, 4)]
        compressed = compress(
            CompressRequest(
                model=tmp_path / "one.keras",
                output=tmp_path / "out.keras",
                objective=Objective(loss="categorical-crossentropy"),
                train=batches,
                options=options,
            )
        )
        return compressed, load(compressed.model)

    return made


def means(keras, network, pictures, name):
    """Of the upper and the lower half, by numpy: (n, 2 x channels)."""
    plane = np.asarray(keras.Model(network.input, network.get_layer(name).output)(pictures))
    half = plane.shape[1] // 2
    return np.concatenate([plane[:, :half].mean((1, 2)), plane[:, -half:].mean((1, 2))], axis=1)


def test_features_are_standardised_means_of_halves_and_the_answer_is_as_before(keras, network, watch, pictures):
    plain = network()
    compressed, model = watch(plain, pictures)
    logits, features = (np.asarray(each) for each in model(pictures))
    assert model.output_names == ["logits", "features"]
    np.testing.assert_array_equal(logits, np.asarray(plain(pictures)))
    wanted = [means(keras, plain, pictures, name) for name in ("one", "two")]
    standard = [0.1 * (each - each.mean(0)) / np.maximum(each.std(0), 0.1 * each.std(0).max()) for each in wanted]
    np.testing.assert_allclose(features, np.concatenate(standard, axis=1), atol=2e-4)
    assert compressed.notes == ("20 features of one, two",)


def test_what_is_upside_down_has_other_features(network, watch, pictures):
    pictures[:, :4] += 1
    _, model = watch(network(), pictures)
    plain, turned = (np.asarray(model(each)[1]) for each in (pictures, pictures[:, ::-1]))
    assert np.abs(turned).max() > 3 * np.abs(plain).max()


def test_layers_are_chosen_by_name(keras, network, watch, pictures):
    _, model = watch(network(), pictures, layers=["two"])
    assert model.outputs[1].shape == (None, 12)


def test_a_network_of_several_views_is_watched_in_the_first(keras, build, watch):
    from edgeai_keras.views import VIEWS, of_views

    pictures = np.random.default_rng(2).random((8, 16, 16, 1)).astype(np.float32)
    plain = build("segmenter")
    twice = of_views(plain, VIEWS["horizontal"])
    _, model = watch(twice, pictures, layers=["down", "bottom"])
    answer, features = (np.asarray(each) for each in model(pictures))
    np.testing.assert_array_equal(answer, np.asarray(twice(pictures)))
    _, alone = watch(plain, pictures, layers=["down", "bottom"])
    np.testing.assert_allclose(features, np.asarray(alone(pictures)[1]), atol=1e-5)


@pytest.mark.parametrize("case", ["no such layer", "no samples", "twice", "no plane"])
def test_what_cannot_be_watched_is_refused(keras, network, watch, pictures, case):
    options, model, code = {}, network(), "compress.nothing-to-watch"
    if case == "no such layer":
        options, code = {"layers": ["three"]}, "compress.layer-unknown"
    elif case == "no samples":
        pictures = None
    elif case == "twice":
        model = watch(model, pictures)[1]
    else:
        image = keras.Input((9, 9, 1), name="image")
        model = keras.Model(image, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(image)))
    with pytest.raises(CompressionFailed) as caught:
        watch(model, pictures, **options)
    assert caught.value.code == code
    if case == "no such layer":
        assert "conv_1, one, conv_2, two" in caught.value.remedy


def test_the_same_model_gives_the_same_bytes(network, watch, pictures):
    first = watch(network(), pictures)[0].model.read_bytes()
    assert watch(network(), pictures)[0].model.read_bytes() == first
