"""What channels cannot be followed through is refused by name, or kept whole when that is asked for; never guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeai.api import CompressionFailed, Objective  # noqa: E402
from edgeai_keras.channels import SPEC, cost  # noqa: E402
from edgeai_keras.channels.groups import groups_of, settle  # noqa: E402
from edgeai_keras.channels.options import plan_of  # noqa: E402
from edgeai_keras.channels.rules import rule_of  # noqa: E402
from edgeai_keras.channels.trace import follow  # noqa: E402
from edgeai_keras.saving import save  # noqa: E402

L = keras.layers
OBJECTIVE = Objective(loss="categorical-crossentropy")


@keras.saving.register_keras_serializable("channels-tests")
class Doubled(L.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


@keras.saving.register_keras_serializable("channels-tests")
class OwnConv(L.Conv2D):
    """A subclass may do anything with its kernel."""


def around(middle: Callable[[Any], Any]) -> Any:
    """stem -> what is tested -> tail."""
    image = keras.Input((8, 8, 2))
    x = middle(L.Conv2D(8, 3, padding="same", name="stem")(image))
    x = L.Conv2D(8, 3, padding="same", name="tail")(x) if len(x.shape) == 4 else L.Dense(8, name="tail")(x)
    x = L.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else L.Flatten()(x)
    return keras.Model(image, L.Dense(2, name="out")(x))


UNFOLLOWED = {
    "Lambda": lambda x: L.Lambda(lambda t: 2 * t, name="it")(x),
    "Doubled": lambda x: Doubled(name="it")(x),
    "OwnConv": lambda x: OwnConv(8, 3, name="it")(x),
    "LayerNormalization": lambda x: L.LayerNormalization(name="it")(x),
    "UnitNormalization": lambda x: L.UnitNormalization(name="it")(x),
    "SpectralNormalization": lambda x: L.SpectralNormalization(L.Conv2D(8, 3), name="it")(x),
    "Softmax": lambda x: L.Softmax(name="it")(x),
    "Activation": lambda x: L.Activation("softmax", name="it")(x),
    "Dense": lambda x: L.Dense(4, activation="softmax", name="it")(x),
    "Conv2D": lambda x: L.Conv2D(8, 3, groups=2, name="it")(x),
    "Reshape": lambda x: L.Reshape((8, 4, 16), name="it")(L.Permute((1, 3, 2))(x)),
    "MaxPooling2D": lambda x: L.MaxPooling2D(name="it")(L.Permute((3, 1, 2))(x)),
    "Rescaling": lambda x: L.Rescaling([1.0] * 8, name="it")(x),
    "MultiHeadAttention": lambda x: L.MultiHeadAttention(2, 4, name="it")(*[L.Reshape((64, 8))(x)] * 2),
    "LSTM": lambda x: L.LSTM(8, name="it")(
        L.Reshape((64, 8))(x), initial_state=[L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)]
    ),
    "Bidirectional": lambda x: L.Bidirectional(L.RNN(L.GRUCell(4)), name="it")(L.Reshape((64, 8))(x)),
    "Add": lambda x: L.Add(name="it")([x, L.Permute((3, 2, 1))(x)]),
    "BatchNormalization": lambda x: L.BatchNormalization(axis=1, name="it")(x),
    "GetItem": lambda x: x[..., :4],
}


@pytest.mark.parametrize("kind", UNFOLLOWED)
def test_a_layer_that_cannot_be_followed_is_refused_by_name_and_can_be_kept(kind: str) -> None:
    net = around(UNFOLLOWED[kind])
    name = "get_item" if kind == "GetItem" else "it"
    with pytest.raises(CompressionFailed) as refused:
        settle(follow(net, rule_of))
    assert refused.value.code == "compress.layer-unfollowed"
    assert f"{name!r} ({kind})" in str(refused.value) or kind == "GetItem"
    assert '"stem"' in (refused.value.remedy or "") or kind == "Dense", "the remedy names whose channels to keep"

    trace = follow(net, rule_of)
    notes = settle(trace, keep_unknown=True)
    assert any(name in note for note in notes)
    free = {layer for group in groups_of(trace) for layer in group.layers}
    assert "tail" in free, "what comes after is pruned all the same"
    assert ("stem" in free) == (kind == "Dense"), "what comes before is kept"

    for keep in ({"it"}, {"stem"}) if kind not in ("Dense", "GetItem", "LSTM") else ():
        assert settle(follow(net, rule_of, keep=keep), keep=keep) == ()


def test_an_unknown_layer_is_no_matter_where_no_channel_could_go() -> None:
    image = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3, name="stem")(Doubled()(L.LayerNormalization()(image)))
    x = L.Flatten()(L.Conv2D(4, 3, name="tail")(x))
    net = keras.Model(image, Doubled()(L.Softmax()(L.Dense(3)(x))))
    trace = follow(net, rule_of)
    assert settle(trace) == ()
    assert [group.layers for group in groups_of(trace)] == [("stem",), ("tail",)]


def test_a_keep_that_names_no_layer_is_refused_with_the_nearest_name() -> None:
    net = around(lambda x: x)
    with pytest.raises(CompressionFailed, match="stam") as refused:
        settle(follow(net, rule_of, keep=["stam"]), keep=["stam"])
    assert refused.value.code == "compress.layer-unknown"
    assert "'stem'" in (refused.value.remedy or "")


def test_a_subclassed_model_is_refused() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(CompressionFailed) as refused:
        cost(Own())
    assert refused.value.code == "compress.layer-unfollowed"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "compress.target-invalid"),
        ({"flops": 0.5, "parameters": 0.5}, "compress.target-invalid"),
        *[({"flops": value}, "compress.target-invalid") for value in (0, 1, 1.5, -0.1, "half", True, float("nan"))],
        ({"flops": 0.5, "importance": "luck"}, "compress.options"),
        ({"flops": 0.5, "scope": "both"}, "compress.options"),
        ({"flops": 0.5, "unknown": "guess"}, "compress.options"),
        ({"flops": 0.5, "round_to": -1}, "compress.options"),
        ({"flops": 0.5, "min_channels": 1.5}, "compress.options"),
        ({"flops": 0.5, "steps": 0}, "compress.options"),
        ({"flops": 0.5, "keep": "stem"}, "compress.options"),
        ({"flops": 0.5, "learning_rate": -1.0}, "compress.options"),
        ({"flops": 0.5, "sparsity": 0.5}, "compress.options"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(CompressionFailed) as refused:
        plan_of(options)
    assert refused.value.code == code
    assert refused.value.remedy


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("options", [{"flops": 0.01}, {"parameters": 0.01}, {"flops": 0.5, "keep": ["stem", "tail"]}])
def test_a_target_that_cannot_be_met_is_refused(tmp_path: Any, scope: str, options: dict[str, Any]) -> None:
    save(around(lambda x: x), tmp_path / "m.keras")
    request = _request(tmp_path, {**options, "scope": scope})
    with pytest.raises(CompressionFailed) as refused:
        SPEC.compress(request)
    assert refused.value.code == "compress.target-unreachable"
    assert not request.output.exists()


def test_taylor_without_training_batches_is_refused(tmp_path: Any) -> None:
    save(around(lambda x: x), tmp_path / "m.keras")
    with pytest.raises(CompressionFailed) as refused:
        SPEC.compress(_request(tmp_path, {"flops": 0.5, "importance": "taylor"}))
    assert refused.value.code == "compress.no-data"


def test_a_file_with_a_lambda_is_refused_before_its_code_could_run(tmp_path: Any) -> None:
    around(UNFOLLOWED["Lambda"]).save(tmp_path / "m.keras")
    with pytest.raises(CompressionFailed, match="it") as refused:
        SPEC.compress(_request(tmp_path, {"flops": 0.5, "unknown": "keep"}))
    assert refused.value.code == "compress.layer-unsafe"


def test_a_file_with_an_unregistered_class_is_refused(tmp_path: Any) -> None:
    class Stranger(L.Layer):
        def call(self, x: Any) -> Any:
            return x

    around(lambda x: Stranger(name="it")(x)).save(tmp_path / "m.keras")
    with pytest.raises(CompressionFailed, match="Stranger") as refused:
        SPEC.compress(_request(tmp_path, {"flops": 0.5}))
    assert refused.value.code == "compress.model-unreadable"


def _request(folder: Any, options: dict[str, Any]) -> Any:
    from edgeai.api import CompressRequest

    return CompressRequest(
        model=folder / "m.keras", output=folder / "small.keras", objective=OBJECTIVE, options=options
    )


def test_nothing_here_hides_a_model_that_does_not_run() -> None:
    """The models of this file are sound in themselves."""
    for kind, middle in UNFOLLOWED.items():
        answer = around(middle)(np.zeros((1, 8, 8, 2), "float32"))
        assert tuple(answer.shape) == (1, 2), kind
