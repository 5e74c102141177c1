"""Choosing, cutting and fine-tuning: targets are met, the least important channels go, the same twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeai.api import CompressionFailed, CompressRequest, Objective  # noqa: E402
from edgeai_keras.channels import SPEC, cost  # noqa: E402
from edgeai_keras.channels.choice import Limits  # noqa: E402
from edgeai_keras.channels.groups import groups_of, settle  # noqa: E402
from edgeai_keras.channels.importance import importance  # noqa: E402
from edgeai_keras.channels.latency import ratio, timed  # noqa: E402
from edgeai_keras.channels.options import plan_of  # noqa: E402
from edgeai_keras.channels.prune import prune  # noqa: E402
from edgeai_keras.channels.rules import rule_of  # noqa: E402
from edgeai_keras.channels.trace import follow  # noqa: E402
from edgeai_keras.loading import load  # noqa: E402
from edgeai_keras.saving import save  # noqa: E402

L = keras.layers
OBJECTIVE = Objective(loss="categorical-crossentropy")


def network(width: int = 16) -> Any:
    keras.utils.set_random_seed(4)
    x = i = keras.Input((16, 16, 1), name="image")
    x = L.ReLU()(L.BatchNormalization(name="norm")(L.Conv2D(width, 3, padding="same", name="one")(x)))
    x = L.MaxPooling2D()(x)
    y = L.Conv2D(2 * width, 3, padding="same", activation="relu", name="two")(x)
    y = L.Conv2D(width, 3, padding="same", name="three")(y)
    x = L.Flatten()(L.MaxPooling2D(4)(L.Add()([x, y])))
    x = L.Dense(20, activation="relu", name="hidden")(x)
    return keras.Model(i, L.Dense(3, activation="softmax", name="probabilities")(x))


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    save(network(), tmp_path / "parent.keras")

    def made(output: str = "small.keras", **options: Any) -> CompressRequest:
        training = {name: options.pop(name) for name in ("train", "validation") if name in options}
        return CompressRequest(
            model=tmp_path / "parent.keras",
            output=tmp_path / output,
            objective=OBJECTIVE,
            options=options,
            seed=3,
            **training,
        )

    return made


TARGETS = [
    pytest.param(scope, target, fraction, marks=pytest.mark.torture if (row + column + place) % 2 else ())
    for row, scope in enumerate(("global", "layer"))
    for column, target in enumerate(("flops", "parameters"))
    for place, fraction in enumerate((0.8, 0.5, 0.25))
]
"""Each two of these together; all three for `make torture`."""


@pytest.mark.parametrize(("scope", "target", "fraction"), TARGETS)
def test_the_target_is_met_and_not_by_far(request_of: Any, scope: str, target: str, fraction: float) -> None:
    request = request_of(scope=scope, round_to=1, min_channels=2, **{target: fraction})
    done = SPEC.compress(request)
    small, parent = cost(load(request.output)), cost(load(request.model))
    share = small.macs / parent.macs if target == "flops" else small.parameters / parent.parameters
    assert 0.92 * fraction < share <= fraction
    assert done.facts["flops"] == 2 * small.macs == 2 * done.facts["macs"]
    assert done.facts["parameters"] == small.parameters
    assert done.facts["flops_before"] == 2 * parent.macs
    assert done.facts["parameters_before"] == parent.parameters


def test_channels_are_counted_in_multiples_and_never_too_few(request_of: Any) -> None:
    done = SPEC.compress(request_of(flops=0.3, round_to=8, min_channels=8))
    widths = {layer.name: layer.output.shape[-1] for layer in load(done.model).layers}
    assert {widths[name] % 8 for name in ("one", "two", "three")} == {0}
    assert min(widths[name] for name in ("one", "two", "three", "hidden")) >= 8
    assert widths["hidden"] in (8, 16, 20), "all of an odd number, or a multiple"
    wide = prune(network(64), plan_of({"flops": 0.5, "keep": ["hidden"]}), _nothing())
    assert {left % 16 for _, left in wide.widths.values()} == {0}, "by itself as coarse as the target allows"
    narrow = prune(network(8), plan_of({"flops": 0.5}), _nothing())
    assert any(left % 8 for _, left in narrow.widths.values())
    assert 0.45 < narrow.after.macs / narrow.before.macs <= 0.5
    assert Limits(4, 4).counts(18) == [18, 16, 12, 8, 4]
    assert Limits(5, 4).counts(3) == [3]


def test_kept_layers_keep_their_channels_and_so_do_those_tied_to_them(request_of: Any) -> None:
    done = SPEC.compress(request_of(flops=0.5, keep=["three"]))
    widths = {layer.name: layer.output.shape[-1] for layer in load(done.model).layers}
    assert (widths["one"], widths["three"]) == (16, 16)
    assert widths["two"] < 32
    assert any(note.startswith("pruned two from 32 to") for note in done.notes)
    assert not any("pruned one" in note for note in done.notes)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_channels_with_the_least_filters_go(kind: str) -> None:
    """Six of two's 32 filters are shrunk: they and no other go when six may stay out."""
    net = network()
    kernel, _ = net.get_layer("two").get_weights()
    weak = [1, 4, 9, 16, 25, 31]
    kernel[..., weak] *= 1e-3
    net.get_layer("two").set_weights([kernel, np.arange(32.0)])
    plan = plan_of({"parameters": 0.9, "importance": kind, "round_to": 1, "keep": ["one", "three", "hidden"]})
    small = prune(net, plan, _nothing()).model
    left = small.get_layer("two").get_weights()[1].tolist()
    gone = [channel for channel in range(32) if channel not in left]
    assert gone
    assert set(gone) <= set(weak) or set(weak) <= set(gone)


def test_a_batch_normalisation_that_silences_a_channel_makes_it_unimportant() -> None:
    net = network()
    gamma, beta, mean, variance = net.get_layer("norm").get_weights()
    gamma[5], gamma[7] = 0.0, 50.0
    net.get_layer("norm").set_weights([gamma, beta, mean, variance])
    figures = _figures(net, "one", "l2")
    assert int(np.argmax(figures)) == 7
    bare = network()
    assert int(np.argmax(_figures(bare, "one", "l2"))) != 7 or int(np.argmin(_figures(bare, "one", "l2"))) != 5
    assert _figures(net, "one", "bn-gamma")[5] < _figures(bare, "one", "bn-gamma")[5]


def test_taylor_sees_what_the_loss_depends_on(blobs: Any, batches: Any) -> None:
    """A channel that nobody reads has no gradient, however large its filter is."""
    net = network()
    kernel, bias = net.get_layer("two").get_weights()
    kernel[..., 3] *= 100.0
    net.get_layer("two").set_weights([kernel, bias])
    reader, other = net.get_layer("three").get_weights()
    reader[:, :, 3, :] = 0.0
    net.get_layer("three").set_weights([reader, other])
    pictures, classes, _ = blobs(32, 1)
    train = batches({"image": pictures}, {"probabilities": classes})
    assert int(np.argmax(_figures(net, "two", "l2"))) == 3
    assert int(np.argmin(_figures(net, "two", "taylor", train))) == 3


def test_a_layer_without_batch_normalisation_is_named_where_gamma_was_to_rank_it(request_of: Any) -> None:
    done = SPEC.compress(request_of(flops=0.6, importance="bn-gamma"))
    [note] = [note for note in done.notes if "ranked by l2" in note]
    assert "two" in note
    assert "one" not in note


def test_pruned_in_rounds_and_fine_tuned_it_answers_well(request_of: Any, blobs: Any, batches: Any) -> None:
    pictures, classes, _ = blobs(96, 1)
    data = batches({"image": pictures}, {"probabilities": classes})
    done = SPEC.compress(request_of(train=data, validation=data, flops=0.4, steps=2, epochs=4, learning_rate=5e-3))
    assert [note[:20] for note in done.notes if "tuned" in note] == ["round 1: fine-tuned ", "round 2: fine-tuned "]
    unseen, truth, _ = blobs(60, 2)
    answers = np.argmax(load(done.model)(unseen, training=False), axis=1)
    assert (answers == np.argmax(truth, axis=1)).mean() > 0.85
    assert done.facts["flops"] <= 0.4 * done.facts["flops_before"]
    assert 0.0 <= done.facts["validation_loss"] < 0.5


@pytest.mark.torture
def test_the_same_request_gives_the_same_bytes(request_of: Any, blobs: Any, batches: Any) -> None:
    pictures, classes, _ = blobs(32, 1)
    data = batches({"image": pictures}, {"probabilities": classes})
    options = {"flops": 0.5, "epochs": 1, "importance": "taylor"}
    one, two = (SPEC.compress(request_of(name, train=data, **options)) for name in ("a.keras", "b.keras"))
    assert one.model.read_bytes() == two.model.read_bytes()
    assert (one.facts, one.notes) == (two.facts, two.notes)


def test_a_sequential_model_stays_one_and_is_fine_tuned(tmp_path: Path, blobs: Any, batches: Any) -> None:
    net = keras.Sequential(
        [
            keras.Input((16, 16, 1), name="image"),
            L.Conv2D(16, 3, activation="relu", name="one"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dense(3, activation="softmax", name="probabilities"),
        ]
    )
    save(net, tmp_path / "m.keras")
    pictures, classes, _ = blobs(32, 1)
    data = batches({"image": pictures}, {"probabilities": classes})
    request = CompressRequest(
        model=tmp_path / "m.keras",
        output=tmp_path / "small.keras",
        objective=OBJECTIVE,
        train=data,
        options={"flops": 0.5, "epochs": 1},
    )
    done = SPEC.compress(request)
    small = load(done.model)
    assert type(small).__name__ == "Sequential"
    assert small.get_layer("one").filters == 8
    assert [tensor.name for tensor in small.inputs] == ["image"]


def test_a_latency_target_is_searched_for_by_flops() -> None:
    """Time here is a half of the FLOPs and a half that does not change: 0.7 of it is 0.4 of the FLOPs."""
    net = network(32)

    def measure(small: Any, parent: Any) -> float:
        return 0.5 + 0.5 * cost(small).macs / cost(parent).macs

    pruned = prune(net, plan_of({"latency": 0.7, "round_to": 1}), _nothing(), measure=measure)
    assert 0.65 <= pruned.facts["latency_ratio"] <= 0.7
    assert measure(pruned.model, net) == pytest.approx(pruned.facts["latency_ratio"])
    with pytest.raises(CompressionFailed) as refused:
        prune(net, plan_of({"latency": 0.4}), _nothing(), measure=measure)
    assert refused.value.code == "compress.target-unreachable"


def test_latency_is_measured_for_real(request_of: Any) -> None:
    done = SPEC.compress(request_of(latency=0.95))
    assert 0.0 < done.facts["latency_ratio"] <= 0.95
    assert done.facts["flops"] < done.facts["flops_before"]


def _shallow_densenet(**shape: Any) -> Any:
    """DenseNet of four blocks of three, where 121 has 58 in all: the same layers, less often."""
    from keras.src.applications.densenet import DenseNet

    return DenseNet([3, 3, 3, 3], **shape)


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet", "ResNet50V2", "MobileNetV3Small"])
def test_known_networks_lose_half_of_their_work(name: str) -> None:
    """Residual adds, dense concatenations, depthwise blocks, gates with keras.ops arithmetic: all of it followed."""
    made = _shallow_densenet if name == "DenseNet" else getattr(keras.applications, name)
    net = made(weights=None, input_shape=(32, 32, 3), classes=3)
    pruned = prune(net, plan_of({"flops": 0.5, "scope": "layer"}), _nothing())
    assert 0.46 < pruned.after.macs / pruned.before.macs <= 0.5
    assert len(pruned.widths) > 20
    assert tuple(pruned.model(np.zeros((1, 32, 32, 3), "float32")).shape) == (1, 3)


def test_latency_gives_each_input_its_own_tensor() -> None:
    one, two = keras.Input((4,), name="one"), keras.Input((8, 8, 2), name="two")
    x = L.Concatenate()([L.Dense(8)(one), L.GlobalAveragePooling2D()(L.Conv2D(8, 3)(two))])
    net = keras.Model([two, one], L.Dense(2)(x))
    timed(net)()
    assert ratio(net, net) > 0


def test_many_layers_are_summed_up_in_one_note(tmp_path: Path) -> None:
    x = i = keras.Input((8, 8, 1))
    for _ in range(15):
        x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    save(keras.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(x))), tmp_path / "m.keras")
    request = CompressRequest(
        model=tmp_path / "m.keras", output=tmp_path / "s.keras", objective=OBJECTIVE, options={"flops": 0.26}
    )
    first, *_ = SPEC.compress(request).notes
    assert first.startswith("pruned 15 layers from 120 to 60 channels in all; most: ")


def test_work_is_counted_as_the_documents_say() -> None:
    i = keras.Input((10, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(i)  # 8 x 6 positions, 27 x 4 products
    x = L.DepthwiseConv2D(3, padding="same", strides=2, name="depth")(x)  # 4 x 3 positions, 9 x 4
    x = L.Conv2DTranspose(5, 2, 2, name="up")(x)  # 4 x 3 input positions, 4 x 5 x 4
    x = L.BatchNormalization()(L.SeparableConv2D(6, 3, padding="same", name="sep")(x))  # 8 x 6, 9 x 5 + 5 x 6
    x = L.Reshape((8, 36))(x)
    net = keras.Model(i, L.Dense(2, name="out")(L.GRU(7, name="gru")(L.MultiHeadAttention(2, 3, name="mha")(x, x))))
    counted = cost(net)
    assert dict(counted.layers) == {
        "conv": 48 * 27 * 4,
        "depth": 12 * 9 * 4,
        "up": 12 * 4 * 5 * 4,
        "sep": 48 * (9 * 5 + 5 * 6),
        "gru": 8 * 3 * 7 * (36 + 7),
        "out": 14,
    }
    assert counted.flops == 2 * counted.macs == 2 * sum(counted.layers.values())
    assert counted.parameters == net.count_params()
    assert counted.uncounted == ("mha",)


def test_an_open_height_is_counted_as_64() -> None:
    i = keras.Input((None, None, 1))
    assert cost(keras.Model(i, L.Conv2D(2, 1)(i))).macs == 64 * 64 * 2


def test_registering_imports_no_keras() -> None:
    code = "import sys, edgeai_keras.channels as c; print(c.SPEC.name, 'keras' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["prune-channels", "False"]


def _nothing() -> CompressRequest:
    return CompressRequest(model=Path("unread.keras"), output=Path("unwritten.keras"), objective=OBJECTIVE)


def _figures(net: Any, layer: str, kind: str, train: Any = None) -> list[float]:
    trace = follow(net, rule_of)
    settle(trace)
    [group] = [group for group in groups_of(trace) if layer in group.layers]
    figures = importance(net, trace, [group], kind, objective=OBJECTIVE, train=train)
    return [figures[one] for one in group.classes]
