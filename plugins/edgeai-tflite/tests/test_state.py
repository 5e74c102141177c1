"""No run leaves anything for the next: variable tensors, resource variables, loops over them; and no random numbers."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from edgeai.api import InferenceFailed, ModelRejected, SessionClosed, TensorSpec
from edgeai.testing.conformance import ArtifactExample, BackendConformance
from edgeai_tflite import BACKEND, CONVERTER
from edgeai_tflite.state import Kept, kept_by

ROWS = TensorSpec(name="rows", dtype="float32", shape=(1, 4))
ANSWER = TensorSpec(name="answer", dtype="float32", shape=(1, 4))
LOW, HIGH = ({"rows": np.full((1, 4), value, np.float32)} for value in (0.25, 8.0))
START = 3.0


@pytest.fixture(scope="module")
def tf(keras):
    return pytest.importorskip("tensorflow")


def _ways(tf, total):
    """How a model may keep something in ``total``: name -> the function of its input that it serves."""

    def adds_now_and_then(rows):
        return tf.cond(tf.reduce_mean(rows) > 1.0, lambda: total.assign_add(rows), lambda: total + rows)

    def adds_in_a_loop(rows):
        def body(step):
            total.assign_add(rows)
            return (step + 1,)

        tf.while_loop(lambda step: step < 3, body, (tf.constant(0),))
        return total + rows

    return {
        "adds": lambda rows: total.assign_add(rows),
        "adds_now_and_then": adds_now_and_then,
        "adds_in_a_loop": adds_in_a_loop,
        "overwrites": lambda rows: total.assign(rows) * 2.0,
        "reads": lambda rows: total * 2.0 + rows,
        "uniform": lambda rows: rows + tf.random.uniform((1, 4), seed=1),
        "normal": lambda rows: rows + tf.random.normal((1, 4)),
        "categorical": lambda rows: rows + tf.cast(tf.random.categorical(rows, 4), tf.float32),
    }


@pytest.fixture(scope="module")
def theirs(tf, tmp_path_factory):
    """``theirs(name, batch=1)`` -> a .tflite file of that way; the variable begins at ``START``."""

    def get(name, batch=1):
        path = tmp_path_factory.mktemp(name) / "theirs.tflite"
        module = tf.Module()
        module.total = tf.Variable(np.full((1, 4), START, np.float32), name="total")
        way = _ways(tf, module.total)[name]
        signature = [tf.TensorSpec((batch, 4), tf.float32, name="rows")]
        function = tf.function(lambda rows: {"answer": way(rows)}, input_signature=signature, autograph=False)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
        converter.experimental_enable_resource_variables = True
        path.write_bytes(converter.convert())
        return path

    return functools.cache(get)  # nobody writes to them


WANTED = {
    "adds": (START + 0.25, START + 8.0),
    "adds_now_and_then": (START + 0.25, START + 8.0),
    "adds_in_a_loop": (START + 4 * 0.25, START + 4 * 8.0),
    "overwrites": (0.5, 16.0),
    "reads": (2 * START + 0.25, 2 * START + 8.0),
}


def _answer(session, inputs):
    (value,) = set(session.run(inputs)["answer"].ravel().tolist())
    return value


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("name", WANTED)
def test_each_run_begins_where_the_model_begins(open_artifact, theirs, name, threads):
    session = open_artifact(theirs(name), (ROWS,), (ANSWER,), threads=threads)
    low, high = WANTED[name]
    order = [LOW, LOW, HIGH, LOW, HIGH, HIGH, LOW]
    wanted = [low if inputs is LOW else high for inputs in order]
    assert [_answer(session, inputs) for inputs in order] == wanted
    streamed = [float(outputs["answer"][0, 0]) for outputs in session.stream(iter(order * 5))]
    assert streamed == wanted * 5
    assert _answer(session, LOW) == low


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_between_the_answers_of_a_stream(open_artifact, theirs, threads):
    session = open_artifact(theirs("adds"), (ROWS,), (ANSWER,), threads=threads)
    for outputs, other in zip(session.stream([LOW, HIGH, LOW, HIGH]), [HIGH, HIGH, LOW, LOW], strict=True):
        assert float(outputs["answer"][0, 0]) in WANTED["adds"]
        assert _answer(session, other) == WANTED["adds"][other is HIGH]


def test_any_size_and_what_was_refused_leave_nothing_either(open_artifact, theirs):
    rows, answer = (replace(spec, shape=(None, 4)) for spec in (ROWS, ANSWER))
    session = open_artifact(theirs("adds_in_a_loop", batch=None), (rows,), (answer,))
    for count in (1, 3, 1, 2):
        try:
            answers = session.run({"rows": np.full((count, 4), 0.25, np.float32)})["answer"]
        except InferenceFailed:  # the variable has one row, and keeps it
            assert count > 1
        else:
            np.testing.assert_array_equal(answers, np.full((count, 4), WANTED["adds_in_a_loop"][0], np.float32))


def test_a_run_that_would_begin_anew_after_close_opens_no_other_file(open_artifact, theirs):
    """The file's descriptor is free after ``close``, and what has its number then is somebody else's."""
    session = open_artifact(theirs("adds"), (ROWS,), (ANSWER,))
    lane = session._lane  # a stream's thread may hold one when the session closes
    assert _answer(lane, LOW) == WANTED["adds"][0]
    session.close()
    with theirs("overwrites").open("rb"), pytest.raises(SessionClosed):
        lane.run(LOW)


@pytest.mark.parametrize("name", ["mnist_trained_lstm"])
def test_variable_tensors_are_cleared(open_artifact, data_kit, name):
    model = data_kit / "models" / f"{name}.tflite"
    assert kept_by(model) == Kept(tensors=True)
    with np.load(data_kit / "models" / f"ref_{name}.npz") as known:
        given = known["input"]
    source = (TensorSpec(name="input", dtype="float32", shape=(1, 28, 28)),)
    target = (TensorSpec(name="output", dtype="float32", shape=(1, 10)),)
    session = open_artifact(model, source, target, threads=2)
    alone = [session.run({"input": one[np.newaxis]})["output"] for one in given]
    order = [0, 1, 0, 2, 0, 0, 3, 0]
    for number in order:
        np.testing.assert_array_equal(session.run({"input": given[number : number + 1]})["output"], alone[number])
    inputs = [{"input": given[number : number + 1]} for number in order]
    for number, outputs in zip(order, session.stream(inputs), strict=True):
        np.testing.assert_array_equal(outputs["output"], alone[number])


def test_a_keras_layer_that_keeps_its_state_is_converted_and_cleared(keras, tmp_path, open_artifact, request_for):
    steps = replace(ROWS, shape=(1, 4, 3))
    rows = keras.Input((4, 3), batch_size=1, name="rows")
    memory = keras.layers.GRU(4, stateful=True, name="answer")(rows)
    keras.Model(rows, memory).save(tmp_path / "gru.keras")
    request = request_for(model=tmp_path / "gru.keras", inputs=(steps,), outputs=(ANSWER,))
    session = open_artifact(CONVERTER.convert(request).artifact, (steps,), (ANSWER,))
    given = {"rows": np.random.default_rng(3).random((1, 4, 3)).astype(np.float32)}
    first = session.run(given)["answer"]
    for _ in range(3):
        np.testing.assert_array_equal(session.run(given)["answer"], first)


# --- what is kept, and what that costs ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("adds", Kept(resources=True)),
        ("adds_now_and_then", Kept(resources=True)),
        ("adds_in_a_loop", Kept(resources=True)),
        ("reads", Kept()),
        ("uniform", Kept(random=("RANDOM_UNIFORM",))),
        ("normal", Kept(random=("RANDOM_STANDARD_NORMAL",))),
        ("categorical", Kept(random=("MULTINOMIAL",))),
    ],
)
def test_what_a_model_keeps_is_read_off_its_file(theirs, name, kept):
    assert kept_by(theirs(name)) == kept


@pytest.mark.parametrize("name", ["uniform", "normal", "categorical"])
def test_random_numbers_are_refused_when_packed_and_when_opened(open_artifact, theirs, name):
    path = theirs(name)
    for call in (lambda: BACKEND.describe(path), lambda: open_artifact(path, (ROWS,), (ANSWER,))):
        with pytest.raises(ModelRejected, match=r"RANDOM|MULTINOMIAL") as caught:
            call()
        assert caught.value.code == "backend.random"
        assert "dropout" in caught.value.remedy


def test_a_model_without_state_pays_for_nothing(open_artifact, artifacts, specs, golden, monkeypatch):
    from edgeai_tflite import opening

    session = open_artifact("classifier.tflite", (specs.image,), (specs.probabilities,), threads=1)
    lane = session._lane
    calls = []
    interpreter = lane._interpreter

    class Noting:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(interpreter, name)

    lane._interpreter = Noting()
    monkeypatch.setattr(opening._Source, "interpreter", lambda *given: pytest.fail("another interpreter"))
    image = {"image": golden("classifier")["image"][:1]}
    session.run(image)
    session.run(image)
    assert calls == ["set_tensor", "invoke", "get_tensor"] * 2


# --- the walk over the file -----------------------------------------------------------------------

ASSIGN, READ, CALL, IF, WHILE, ONCE, STABLEHLO_WHILE, STABLEHLO_ADD = 144, 143, 31, 118, 119, 129, 200, 163


@pytest.fixture
def written(tf, tmp_path):
    """``written([(kind, numbers), ...], ...)`` -> a file with a subgraph for each list of operators.

    ``numbers`` are the subgraphs that the operator names.
    """
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    fields = {
        CALL: ("CallOptions", ("subgraph",)),
        IF: ("IfOptions", ("thenSubgraphIndex", "elseSubgraphIndex")),
        WHILE: ("WhileOptions", ("condSubgraphIndex", "bodySubgraphIndex")),
        ONCE: ("CallOnceOptions", ("initSubgraphIndex",)),
    }

    def operator(kinds, kind, numbers):
        made = schema.OperatorT()
        made.opcodeIndex = kinds.index(kind)
        if kind in fields:
            name, parts = fields[kind]
            made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            made.builtinOptions = getattr(schema, f"{name}T")()
            for part, number in zip(parts, numbers, strict=True):
                setattr(made.builtinOptions, part, number)
        return made

    def write(*graphs):
        kinds = sorted({kind for graph in graphs for kind, _ in graph})
        model = schema.ModelT()
        model.version = 3
        model.operatorCodes = []
        for kind in kinds:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
            model.operatorCodes.append(code)
        model.subgraphs = []
        for graph in graphs:
            made = schema.SubGraphT()
            made.operators = [operator(kinds, kind, numbers) for kind, numbers in graph]
            model.subgraphs.append(made)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / "written.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path

    return write


@pytest.mark.parametrize(
    ("graphs", "resources"),
    [
        ([[(ASSIGN, ())]], True),
        ([[(READ, ())], [(ASSIGN, ())]], False),
        ([[(ONCE, (1,)), (READ, ())], [(ASSIGN, ())]], False),
        ([[(ONCE, (1,)), (CALL, (1,))], [(ASSIGN, ())]], True),
        ([[(CALL, (1,))], [(CALL, (2,))], [(ASSIGN, ())]], True),
        ([[(IF, (1, 2))], [(READ, ())], [(ASSIGN, ())]], True),
        ([[(IF, (2, 1))], [(READ, ())], [(ASSIGN, ())]], True),
        ([[(IF, (1, 1))], [(READ, ())], [(ASSIGN, ())]], False),
        ([[(WHILE, (1, 2))], [(READ, ())], [(ASSIGN, ())]], True),
        ([[(WHILE, (1, 2))], [(ASSIGN, ())], [(READ, ())]], True),
        ([[(CALL, (1,))], [(CALL, (0,))], [(ASSIGN, ())]], False),
        ([[(STABLEHLO_WHILE, ())], [(ASSIGN, ())]], True),
        ([[(STABLEHLO_ADD, ())]], False),
        ([[(CALL, (7,))]], False),
    ],
)
def test_only_what_the_first_subgraph_runs_again_and_again_counts(written, graphs, resources):
    assert kept_by(written(*graphs)) == Kept(resources=resources)


def test_a_file_that_is_cut_is_damaged_and_no_crash(theirs, tmp_path):
    whole = theirs("adds").read_bytes()
    cut = tmp_path / "cut.tflite"
    outcomes = set()
    for size in itertools.chain(range(16, len(whole), 7), [len(whole) - 1]):
        cut.write_bytes(whole[:size])
        try:
            kept_by(cut)
        except ModelRejected as error:
            outcomes.add(error.code)
    assert outcomes == {"backend.artifact-damaged"}


class TestStateful(BackendConformance):
    """All that every backend is held to, on a model that adds its input up."""

    plugin = "tflite"
    backend = "tflite"
    engine_modules = ("ai_edge_litert", "tflite_runtime")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, theirs):
        golden = tuple((inputs, {"answer": START + inputs["rows"]}) for inputs in (LOW, HIGH))
        return ArtifactExample(path=theirs("adds"), inputs=(ROWS,), outputs=(ANSWER,), golden=golden, threads=2)

    @pytest.fixture(scope="class")
    @classmethod
    def stateful_example(cls, example):
        return example
