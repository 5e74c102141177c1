"""A signature that keeps something from run to run, or draws random numbers, is refused; one that only could is not."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import ModelRejected, TensorSpec
from edgeai_gpu import BACKEND, CONVERTER

X = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)
Y = (TensorSpec(name="y", dtype="float32", shape=(1, 4)),)
ONE = {"x": np.full((1, 4), 0.5, np.float32)}


@pytest.fixture(scope="module")
def tf(keras):
    return pytest.importorskip("tensorflow")


def _ways(tf, module):
    """What a signature may do with ``module.total``, which begins at 3: name -> function."""
    table = module.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
    generator = module.generator = tf.random.Generator.from_seed(1)
    total, key = module.total, tf.zeros((1,), tf.int64)

    def looped(x):
        def body(step):
            total.assign_add(x)
            return (step + 1,)

        tf.while_loop(lambda step: step < 2, body, (tf.constant(0),))
        return total + x

    def filled(x):
        known = table.lookup(key)
        table.insert(key, tf.reshape(x, (-1,))[:1])
        return x + known

    nested = tf.function(lambda x: total.assign_sub(x))
    return {
        "assigned": lambda x: total.assign_add(x),
        "nested": lambda x: nested(x) * 2.0,
        "now and then": lambda x: tf.cond(tf.reduce_mean(x) > 1.0, lambda: total.assign_add(x), lambda: total + x),
        "looped": looped,
        "scattered": lambda x: total.scatter_add(tf.IndexedSlices(x, tf.constant([0]))) + x,
        "filled": filled,
        "uniform": lambda x: x + tf.random.uniform((1, 4), seed=3),
        "shuffled": lambda x: tf.random.shuffle(tf.transpose(x), seed=1) + x,
        "generated": lambda x: x + generator.uniform((1, 4)),
        "dropped": lambda x: tf.nn.dropout(x, 0.5),
        "read": lambda x: x * total,
        "gathered": lambda x: x + tf.gather(total, [0]),
        "looked up": lambda x: x + table.lookup(key),
        "asserted": lambda x: tf.debugging.check_numerics(x, "x") + total,
        "seeded": lambda x: x + tf.random.stateless_uniform((1, 4), seed=(1, 2)),
    }


@pytest.fixture(scope="module")
def theirs(tf, tmp_path_factory):
    """``theirs(name)`` -> a SavedModel that serves that way, and trains in every other, which nobody runs."""

    def get(name):
        module = tf.Module()
        module.total = tf.Variable(np.full((1, 4), 3.0, np.float32))
        ways = _ways(tf, module)
        signature = [tf.TensorSpec((1, 4), tf.float32, name="x")]
        module.serve = tf.function(lambda x: {"y": ways[name](x)}, input_signature=signature, autograph=False)
        module.train = tf.function(
            lambda x: {"y": ways["assigned"](x) + ways["uniform"](x)}, input_signature=signature, autograph=False
        )
        folder = tmp_path_factory.mktemp("theirs")
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve, "train": module.train})
        return folder

    return get


def refused(*calls):
    """The one code of all that are raised."""
    codes = set()
    for call in calls:
        with pytest.raises(ModelRejected) as caught:
            call()
        assert caught.value.remedy
        codes.add((caught.value.code, str(caught.value)))
    (only,) = codes
    return only


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("assigned", "AssignAddVariableOp"),
        ("nested", "AssignSubVariableOp"),
        ("now and then", "AssignAddVariableOp"),
        ("looped", "AssignAddVariableOp"),
        ("scattered", "ResourceScatterAdd"),
        ("filled", "LookupTableInsertV2"),
    ],
)
def test_state_is_refused_when_packed_and_when_opened(open_artifact, theirs, name, operation):
    path = theirs(name)
    code, message = refused(lambda: BACKEND.describe(path), lambda: open_artifact(path, X, Y))
    assert code == "backend.stateful"
    assert operation in message


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("uniform", "RandomUniform"),
        ("shuffled", "RandomShuffle"),
        ("generated", "RngReadAndSkip"),
        ("dropped", "RandomUniform"),
    ],
)
def test_random_numbers_are_refused_when_packed_and_when_opened(open_artifact, theirs, name, operation):
    path = theirs(name)
    code, message = refused(lambda: BACKEND.describe(path), lambda: open_artifact(path, X, Y))
    assert code == "backend.random"
    assert operation in message


@pytest.mark.parametrize("name", ["read", "gathered", "looked up", "asserted", "seeded"])
def test_what_only_reads_is_taken_and_so_is_a_training_signature_beside_it(open_artifact, theirs, name):
    path = theirs(name)
    assert [spec.name for spec in BACKEND.describe(path).inputs] == ["x"]
    session = open_artifact(path, X, Y, settings={"xla": False})
    first = session.run(ONE)["y"]
    for outputs in (session.run(ONE), *session.stream([ONE] * 3)):
        np.testing.assert_array_equal(outputs["y"], first)


def test_the_signature_that_is_asked_for_is_the_one_that_is_looked_at(open_artifact, theirs):
    path = theirs("read")
    code, _ = refused(lambda: open_artifact(path, X, Y, options={"signature": "train"}))
    assert code == "backend.random"


@pytest.mark.parametrize("assigned", [True, False])
def test_variables_of_tensorflow_1(tf, tmp_path, assigned):
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (1, 4), name="x")
        total = v1.Variable(np.full((1, 4), 3.0, np.float32), use_resource=False)
        y = v1.assign_add(total, x) if assigned else total + x
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "theirs"), {"x": x}, {"y": y})
    if not assigned:
        assert [spec.name for spec in BACKEND.describe(tmp_path / "theirs").outputs] == ["y"]
        return
    code, message = refused(lambda: BACKEND.describe(tmp_path / "theirs"))
    assert code == "backend.stateful"
    assert "AssignAdd" in message


@pytest.mark.parametrize(("kind", "code"), [("GRU", "backend.stateful"), ("LSTM", "backend.stateful")])
def test_a_keras_layer_that_keeps_its_state_is_refused(keras, tmp_path, open_artifact, request_for, kind, code):
    steps = TensorSpec(name="rows", dtype="float32", shape=(1, 4, 3))
    rows = keras.Input((4, 3), batch_size=1, name="rows")
    for stateful in (True, False):
        keras.Model(rows, getattr(keras.layers, kind)(4, stateful=stateful)(rows)).save(tmp_path / "memory.keras")
        output = tmp_path / str(stateful)
        output.mkdir()
        request = request_for(model=tmp_path / "memory.keras", inputs=(steps,), outputs=Y, output=output)
        artifact = CONVERTER.convert(request).artifact
        if stateful:
            assert refused(lambda artifact=artifact: open_artifact(artifact, (steps,), Y))[0] == code
        else:
            open_artifact(artifact, (steps,), Y)
