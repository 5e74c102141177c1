"""No run leaves anything for the next: variables of the model, in runs and in streams; and no random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import ModelRejected, TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance
from edgeai_openvino import BACKEND, CONVERTER
from edgeai_openvino.state import Kept, kept_by

X = TensorSpec(name="x", dtype="float32", shape=(1, 4))
Y = TensorSpec(name="y", dtype="float32", shape=(1, 4))
LOW, HIGH = ({"x": np.full((1, 4), value, np.float32)} for value in (0.25, 8.0))


@pytest.fixture(scope="module")
def ov():
    return pytest.importorskip("openvino")


def _random(ops):
    return ops.random_uniform(
        ops.constant(np.array([1, 4], np.int64)), ops.constant(np.float32(0)), ops.constant(np.float32(1)), "f32", 1, 2
    )


def _now_and_then(ov, ops, x):
    """The input and a random number where its first element is over one; else the input and one."""

    def body(make):
        own = ops.parameter([1, 4], np.float32)
        return own, ov.Model([ops.result(ops.add(own, make()))], [own], "body")

    (first, then), (second, other) = body(lambda: _random(ops)), body(lambda: ops.constant(np.float32(1)))
    made = ops.if_op(
        ops.greater(ops.reduce_mean(x, ops.constant(np.array([0, 1]))), ops.constant(np.float32(1))).output(0)
    )
    made.set_then_body(then)
    made.set_else_body(other)
    made.set_input(x.output(0), first, second)
    return made.set_output(then.results[0], other.results[0])


@pytest.fixture(scope="module")
def theirs(ov, tmp_path_factory):
    """``theirs(how)`` -> an IR that adds up, beginning with a number or its first input; or draws random numbers."""
    from openvino import opset3, opset13
    from openvino.op import assign, read_value
    from openvino.op.util import Variable, VariableInfo

    def adding(x, how):
        if how == "old":
            read = opset3.read_value(opset13.constant(np.full((1, 4), 3, np.float32)), "total")
            total = opset13.add(read, x)
            return total, [opset3.assign(total, "total")]
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, 4]), ov.Type.f32, "total"
        variable = Variable(info)
        begin = x if how == "input" else opset13.constant(np.full((1, 4), how, np.float32))
        total = opset13.add(read_value(begin, variable), x)
        return total, [assign(total, variable)]

    def get(how):
        x = opset13.parameter([1, 4], np.float32, name="x")
        x.output(0).set_names({"x"})
        if how == "random":
            y, sinks = opset13.add(x, _random(opset13)).output(0), []
        elif how == "now and then":
            y, sinks = _now_and_then(ov, opset13, x), []
        else:
            total, sinks = adding(x, how)
            y = opset13.relu(total).output(0)
        y.set_names({"y"})
        folder = tmp_path_factory.mktemp("theirs")
        ov.serialize(ov.Model([opset13.result(y)], sinks, [x], "theirs"), folder / "theirs.xml", folder / "theirs.bin")
        return folder / "theirs.xml"

    return get


def _values(answers):
    return [float(outputs["y"][0, 0]) for outputs in answers]


@pytest.mark.parametrize("device", ["CPU", "AUTO"])
@pytest.mark.parametrize("hint", ["auto", "latency", "throughput"])
@pytest.mark.parametrize(
    ("how", "low", "high"), [(0.0, 0.25, 8.0), (3.0, 3.25, 11.0), ("input", 0.5, 16.0), ("old", 3.25, 11.0)]
)
def test_each_run_begins_where_the_model_begins(open_artifact, theirs, device, hint, how, low, high):
    settings = {"hint": hint, "requests": 3 if hint == "throughput" else 0}
    session = open_artifact(theirs(how), (X,), (Y,), device=device, threads=2, settings=settings)
    order = [LOW, LOW, HIGH, LOW, HIGH, HIGH, LOW]
    wanted = [low if inputs is LOW else high for inputs in order]
    assert _values(map(session.run, order)) == wanted
    assert _values(session.stream(iter(order * 5))) == wanted * 5
    assert _values(map(session.run, order)) == wanted
    assert _values(session.stream(iter(order[:2]))) == wanted[:2]


def test_a_stream_that_is_left_alone_leaves_nothing(open_artifact, theirs):
    session = open_artifact(theirs(3.0), (X,), (Y,), threads=2)
    for _ in range(4):
        stream = session.stream([HIGH] * 9)
        next(stream)
        stream.close()
        assert _values(session.stream([LOW, LOW, LOW])) == [3.25] * 3
        assert _values(map(session.run, [LOW, LOW])) == [3.25] * 2


def test_a_keras_layer_that_keeps_its_state_is_converted_and_begins_anew(keras, tmp_path, open_artifact, request_for):
    steps = TensorSpec(name="rows", dtype="float32", shape=(1, 4, 3))
    rows = keras.Input((4, 3), batch_size=1, name="rows")
    keras.Model(rows, keras.layers.GRU(4, stateful=True)(rows)).save(tmp_path / "gru.keras")
    request = request_for(model=tmp_path / "gru.keras", inputs=(steps,), outputs=(Y,))
    session = open_artifact(CONVERTER.convert(request).artifact, (steps,), (Y,))
    given = {"rows": np.random.default_rng(3).random((1, 4, 3)).astype(np.float32)}
    first = session.run(given)["y"]
    for outputs in (session.run(given), *session.stream([given] * 3)):
        np.testing.assert_array_equal(outputs["y"], first)


# --- what is kept, and what that costs ------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        (3.0, Kept(variables=True)),
        ("old", Kept(variables=True)),
        ("random", Kept(random=("RandomUniform",))),
        ("now and then", Kept(random=("RandomUniform",))),
    ],
)
def test_what_a_model_keeps_is_read_off_its_file(theirs, artifacts, how, kept):
    assert kept_by(theirs(how)) == kept
    assert kept_by(artifacts["classifier"]) == Kept()


@pytest.mark.parametrize("how", ["random", "now and then"])
def test_random_numbers_are_refused_when_packed_and_when_opened(open_artifact, theirs, how):
    path = theirs(how)
    for call in (lambda: BACKEND.describe(path), lambda: open_artifact(path, (X,), (Y,))):
        with pytest.raises(ModelRejected, match="RandomUniform") as caught:
            call()
        assert caught.value.code == "backend.random"
        assert "dropout" in caught.value.remedy


def test_a_device_that_cannot_reset_is_refused_and_not_trusted(open_artifact, theirs, monkeypatch):
    def cannot(self):
        raise RuntimeError("Not Implemented")

    monkeypatch.setattr("edgeai_openvino.session.Compiled.reset_state", cannot)  # as a driver's plugin may say
    with pytest.raises(ModelRejected, match="Not Implemented") as caught:
        open_artifact(theirs(3.0), (X,), (Y,))
    assert caught.value.code == "backend.stateful"
    assert "stateful=False" in caught.value.remedy


def test_a_model_without_state_pays_for_nothing(open_artifact, specs, golden):
    session = open_artifact("classifier", (specs.image,), (specs.probabilities,), threads=1)
    request = session._compiled.idle.pop()
    calls = []

    class Noting:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(request, name)

    session._compiled.idle.append(Noting())
    for _ in range(2):
        session.run({"image": golden("classifier")["image"][:1]})
    assert calls == ["get_input_tensor", "infer", "get_output_tensor"] * 2


class TestStateful(BackendConformance):
    """All that every backend is held to, on a model that adds its input up."""

    plugin = "openvino"
    backend = "openvino"
    engine_modules = ("openvino",)

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, theirs):
        golden = tuple((inputs, {"y": 3 + inputs["x"]}) for inputs in (LOW, HIGH))
        return ArtifactExample(path=theirs(3.0), inputs=(X,), outputs=(Y,), golden=golden, threads=2)

    @pytest.fixture(scope="class")
    @classmethod
    def stateful_example(cls, example):
        return example
