"""A SavedModel is read before it is loaded: what would reach outside never runs, and what only computes is taken."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgeai.api import ModelRejected, TensorSpec
from edgeai_gpu import BACKEND, CONVERTER, graph
from edgeai_gpu.operations import ALLOWED, INITIALISES, NOWHERE, RESTORES, SAVES

X = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)
Y = (TensorSpec(name="y", dtype="float32", shape=(1, 4)),)


@pytest.fixture(scope="module")
def tf(keras):
    return pytest.importorskip("tensorflow")


@pytest.fixture
def resource(tf):
    """``resource(initialise)`` -> something that runs ``initialise`` when the model that holds it is loaded."""

    def make(initialise):
        class Filled(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
            def _create_resource(self):
                return tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.float32)

            def _initialize(self):
                initialise()

            def _destroy_resource(self):
                tf.raw_ops.NoOp()

        return Filled()

    return make


@pytest.fixture
def saved(tf, tmp_path):
    """``saved(function, resource)`` -> a SavedModel of TensorFlow 2 that serves ``{"y": function(x)}``."""

    def save(function=lambda x: x * 2.0, held=None, also=None):
        module = tf.Module()
        module.weight = tf.Variable(np.full((1, 4), 3.0, np.float32))
        module.held = held
        signature = [tf.TensorSpec((1, 4), tf.float32, name="x")]
        module.serve = tf.function(
            lambda x: {"y": function(x) + module.weight}, input_signature=signature, autograph=False
        )
        if also is not None:
            module.also = tf.function(lambda x: {"y": also(x)}, input_signature=signature, autograph=False)
        tf.saved_model.save(module, str(tmp_path / "theirs"), signatures={"serving_default": module.serve})
        return tmp_path / "theirs"

    return save


@pytest.fixture
def saved_1(tf, tmp_path):
    """``saved_1(build)`` -> one of TensorFlow 1; ``build(v1, x)`` gives (y, what to run when it is loaded)."""

    def save(build, **more):
        v1 = tf.compat.v1
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, (1, 4), name="x")
            weight = v1.get_variable("weight", initializer=np.full((1, 4), 3.0, np.float32), use_resource=True)
            y, init = build(v1, x)
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            builder = v1.saved_model.Builder(str(tmp_path / "theirs"))
            tensors = ({"x": x}, {"y": y + weight})
            served = v1.saved_model.predict_signature_def(*tensors)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": served}, main_op=init, **more)
            builder.save()
        return tmp_path / "theirs"

    return save


def changed(folder, change):
    """The same model, with its graph changed by hand."""
    parsed = graph.read(folder)
    change(parsed.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(parsed.SerializeToString())
    return folder


def refused(open_artifact, folder, *words, code="backend.artifact-unsafe"):
    """When packed and when opened, in the same words."""
    codes = set()
    for call in (lambda: BACKEND.describe(folder), lambda: open_artifact(folder, X, Y, settings={"xla": False})):
        with pytest.raises(ModelRejected) as caught:
            call()
        assert caught.value.code == code, caught.value
        assert caught.value.remedy
        codes.add(str(caught.value))
    (only,) = codes
    for word in words:
        assert word in only


def taken(open_artifact, folder, wanted):
    assert [spec.name for spec in BACKEND.describe(folder).inputs] == ["x"]
    session = open_artifact(folder, X, Y, settings={"xla": False})
    np.testing.assert_allclose(session.run({"x": np.full((1, 4), 0.5, np.float32)})["y"], np.full((1, 4), wanted))


# --- what only computes -----------------------------------------------------------------------------------------------


def test_a_plain_export_of_keras(keras, tmp_path):
    image = keras.Input((16, 16, 1), batch_size=1, name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Normalization(mean=0.5, variance=0.1)(x)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", name="scores")(x))
    model.export(tmp_path / "theirs", format="tf_saved_model", verbose=False)
    assert [spec.name for spec in BACKEND.describe(tmp_path / "theirs").inputs] == ["image"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_recurrent_layers(keras, tmp_path, request_for, kind):
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3)) if kind == "Bidirectional" else None
    rows = keras.Input((4, 3), batch_size=1, name="rows")
    layer = layer or getattr(keras.layers, kind)(4)
    keras.Model(rows, layer(rows)).save(tmp_path / "model.keras")
    steps, out = TensorSpec(name="rows", dtype="float32", shape=(1, 4, 3)), tmp_path / "out"
    answer = TensorSpec(name="y", dtype="float32", shape=(1, 6 if kind == "Bidirectional" else 4))
    out.mkdir()
    request = request_for(model=tmp_path / "model.keras", inputs=(steps,), outputs=(answer,), output=out)
    described = BACKEND.describe(CONVERTER.convert(request).artifact)
    assert [(spec.name, tuple(spec.shape)) for spec in described.inputs] == [("rows", (1, 4, 3))]


def test_one_that_keras_2_saved(tmp_path):
    """With its training functions, its losses and its metrics in it."""
    pytest.importorskip("tf_keras")
    code = (
        "import sys, numpy as np, tf_keras as k;"
        "i = k.Input((8, 3), batch_size=1, name='rows'); m = k.Model(i, k.layers.Dense(1)(k.layers.SimpleRNN(4)(i)));"
        "m.compile('adam', 'mse', metrics=['mae']);"
        "m.fit(np.zeros((2, 8, 3)), np.zeros((2, 1)), batch_size=1, verbose=0);"
        "m.save(sys.argv[1], save_format='tf')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "theirs")], check=True, capture_output=True)
    assert [spec.name for spec in BACKEND.describe(tmp_path / "theirs").inputs] == ["rows"]


def test_a_table_that_is_filled_from_the_graph(tf, saved, open_artifact):
    init = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), tf.constant([10.0, 20.0]))
    table = tf.lookup.StaticHashTable(init, 0.0)
    taken(open_artifact, saved(lambda x: x + table.lookup(tf.ones((), tf.int64)), held=table), 23.5)


def test_tensorflow_1_with_a_table_an_empty_init_operation_and_none(tf, saved_1, open_artifact):
    def build(v1, x):
        init = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), tf.constant([10.0, 20.0]))
        table = v1.lookup.StaticHashTable(init, 0.0)
        return x + table.lookup(tf.ones((), tf.int64)), v1.tables_initializer()

    taken(open_artifact, saved_1(build), 23.5)


@pytest.mark.parametrize("empty", [True, False])
def test_tensorflow_1_without_anything_to_initialise(saved_1, open_artifact, empty):
    taken(open_artifact, saved_1(lambda v1, x: (x, v1.group() if empty else None)), 3.5)


def test_print_to_the_error_stream(tf, saved, open_artifact):
    def spoken(x):
        tf.print("x", output_stream=sys.stderr)
        return x

    taken(open_artifact, saved(spoken), 3.5)


def test_a_function_that_nobody_serves_may_train(tf, saved, open_artifact):
    taken(open_artifact, saved(also=lambda x: x + tf.random.uniform((1, 4))), 4.0)


# --- what is run by loading -------------------------------------------------------------------------------------------


def ways_out(tf, folder):
    """What would leave a trace in ``folder``: (the operation, how)."""
    return {
        "WriteFile": lambda: tf.io.write_file(str(folder / "written"), "x"),
        "PrintV2 to": lambda: tf.print("x", output_stream=f"file://{folder / 'printed'}"),
        "SaveV2": lambda: tf.raw_ops.SaveV2(
            prefix=str(folder / "saved"), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(())]
        ),
        "CreateSummaryFileWriter": lambda: tf.raw_ops.CreateSummaryFileWriter(
            writer=tf.raw_ops.SummaryWriter(), logdir=str(folder), max_queue=1, flush_millis=1, filename_suffix="x"
        ),
    }


OUT = ["WriteFile", "PrintV2 to", "SaveV2", "CreateSummaryFileWriter"]


@pytest.mark.parametrize("how", OUT)
def test_an_initialiser_of_tensorflow_2(tf, saved, resource, open_artifact, tmp_path, how):
    (tmp_path / "traces").mkdir()
    folder = saved(held=resource(ways_out(tf, tmp_path / "traces")[how]))
    for trace in (tmp_path / "traces").iterdir():
        trace.unlink()  # saving ran it too
    refused(open_artifact, folder, how)
    assert list((tmp_path / "traces").iterdir()) == []
    if how in ("WriteFile", "PrintV2 to"):
        tf.saved_model.load(str(folder))
        assert list((tmp_path / "traces").iterdir()), "whoever loads it without looking has it run"


@pytest.mark.parametrize("how", OUT)
def test_an_init_operation_of_tensorflow_1(tf, saved_1, open_artifact, tmp_path, how):
    (tmp_path / "traces").mkdir()
    folder = saved_1(lambda v1, x: (x, v1.group(ways_out(tf, tmp_path / "traces")[how]())))
    refused(open_artifact, folder, how)
    assert list((tmp_path / "traces").iterdir()) == []


@pytest.mark.parametrize("how", OUT)
def test_a_signature_and_what_it_calls(tf, saved, open_artifact, tmp_path, how):
    (tmp_path / "traces").mkdir()
    act = ways_out(tf, tmp_path / "traces")[how]
    nested = tf.function(lambda x: (act(), x)[1], autograph=False)
    refused(open_artifact, saved(lambda x: tf.cond(x[0, 0] > 9.0, lambda: nested(x), lambda: x)), how)
    assert list((tmp_path / "traces").iterdir()) == []


@pytest.mark.parametrize("collection", ["legacy_init_op", "saved_model_main_op", "table_initializer"])
def test_every_collection_that_is_run(tf, saved_1, open_artifact, tmp_path, collection):
    folder = saved_1(lambda v1, x: (x, v1.group(tf.io.write_file(str(tmp_path / "written"), "x", name="w"))))

    def move(meta):
        meta.signature_def["__saved_model_init_op"].Clear()
        del meta.signature_def["__saved_model_init_op"]
        meta.collection_def[collection].node_list.value.append("w")
        write = next(node for node in meta.graph_def.node if node.name == "w")
        write.op = "FlushSummaryWriter"  # of those that are refused only where they run

    refused(open_artifact, changed(folder, move), "FlushSummaryWriter")


def test_the_initial_value_of_a_local_variable(tf, saved_1, open_artifact):
    def build(v1, x):
        held = v1.get_local_variable("held", initializer=lambda shape, **_: tf.zeros(shape), shape=(1, 4))
        with tf.control_dependencies([held.initializer]):
            return x, v1.group(name="quiet")

    def spoil(meta):
        node = next(node for node in meta.graph_def.node if node.name == "held/Initializer/zeros")
        node.op = "RandomDataset"

    folder = saved_1(build)
    assert [spec.name for spec in BACKEND.describe(folder).outputs] == ["y"]
    refused(open_artifact, changed(folder, spoil), "RandomDataset")


# --- what is hidden ---------------------------------------------------------------------------------------------------


def test_the_function_that_is_served_is_looked_at_and_not_only_the_one_that_is_described(tf, saved, open_artifact):
    """TensorFlow 2 serves from its graph of objects, whatever the signatures beside it say."""
    folder = saved(also=lambda x: x + tf.random.uniform((1, 4)))

    random = {
        function.signature.name
        for function in graph.read(folder).meta_graphs[0].graph_def.library.function
        if any(node.op == "RandomUniform" for node in function.node_def)
    }

    def serve_the_random_one(meta):
        objects = meta.object_graph_def
        for node in objects.nodes:
            for child in node.children:
                if child.local_name == "serving_default":
                    place = objects.nodes[child.node_id].bare_concrete_function
                    place.concrete_function_name = next(n for n in objects.concrete_functions if n in random)

    refused(open_artifact, changed(folder, serve_the_random_one), "RandomUniform", code="backend.random")


def test_a_function_that_is_taken_for_another(tf, saved, open_artifact):
    """TensorFlow's optimiser may run another function that says it implements the same."""
    folder = saved(
        lambda x: tf.function(lambda v: v * 2.0, autograph=False)(x), also=lambda x: x + tf.random.uniform((1, 4))
    )

    def pair(meta):
        for function in meta.graph_def.library.function:
            if {"Mul", "RandomUniform"} & {node.op for node in function.node_def}:
                function.attr["api_implements"].s = b"same"

    assert BACKEND.describe(folder).inputs
    refused(open_artifact, changed(folder, pair), "RandomUniform", code="backend.random")


@pytest.mark.parametrize("kind", sorted(NOWHERE))
def test_what_is_refused_even_where_nobody_calls_it(saved, open_artifact, kind):
    def hide(meta):
        meta.graph_def.node.add(name="idle", op=kind)

    refused(open_artifact, changed(saved(), hide), kind)


@pytest.mark.parametrize("kind", ["SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"])
def test_the_savers_operations_belong_to_the_saver(saved, open_artifact, kind):
    folder = saved()
    assert kind in {node.kind for node in graph.reached(graph.read(folder).meta_graphs[0], "serving_default").every}
    refused(
        open_artifact,
        changed(folder, lambda meta: meta.graph_def.node.add(name="idle", op=kind)),
        f"{kind} outside the saver",
    )


def test_restoring_does_not_save(saved_1, open_artifact):
    """TensorFlow 1's loader runs the saver's restore operation."""
    folder = saved_1(lambda v1, x: (x, None))

    def save_too(meta):
        saving = next(node.name for node in meta.graph_def.node if node.op == "SaveV2")
        restore = next(node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
        restore.input.append(f"^{saving}")

    refused(open_artifact, changed(folder, save_too), "SaveV2 run when the model is loaded")


@pytest.mark.parametrize(
    ("module", "is_safe"), [(b"ML\xefR stablehlo add_v1", True), (b"ML\xefR custom_call_v1", False)]
)
def test_a_module_of_stablehlo_that_calls_out(saved, open_artifact, module, is_safe):
    def add(meta):
        node = meta.graph_def.node.add(name="module", op="XlaCallModule")
        node.attr["module"].s = module

    folder = changed(saved(), add)
    if is_safe:
        assert BACKEND.describe(folder).inputs
    else:
        refused(open_artifact, folder, "custom call")


def test_an_operation_that_nobody_knows(saved, open_artifact):
    def rename(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "Mul":
                    node.op = "Frobnicate"

    refused(open_artifact, changed(saved(), rename), "Frobnicate in the signature")


@pytest.mark.parametrize("place", [-1, 10_000])
def test_a_place_in_the_graph_of_objects_is_counted_as_the_loader_counts(saved, resource, tf, open_artifact, place):
    """From the end, where it is negative; where it is no place at all there is nothing to run."""
    folder = saved(held=resource(lambda: tf.raw_ops.NoOp()), also=lambda x: x + tf.random.uniform((1, 4)))

    def point(meta):
        objects = meta.object_graph_def
        random = next(
            function.signature.name
            for function in meta.graph_def.library.function
            if any(node.op == "RandomUniform" for node in function.node_def)
        )
        objects.nodes.add().bare_concrete_function.concrete_function_name = random
        for node in objects.nodes:
            for child in node.children:
                if child.local_name == "_initialize":
                    child.node_id = place

    changed(folder, point)
    if place < 0:
        refused(open_artifact, folder, "RandomUniform run when the model is loaded")
    else:
        assert BACKEND.describe(folder).inputs


# --- the lists --------------------------------------------------------------------------------------------------------


def test_no_operation_is_allowed_that_tensorflow_does_not_have(tf):
    from tensorflow.compiler.tf2xla.python import xla  # noqa: F401  registers XLA's own
    from tensorflow.python.framework import op_def_registry

    theirs = ALLOWED | INITIALISES | RESTORES | SAVES
    unknown = {kind for kind in theirs if op_def_registry.get(kind) is None}
    assert unknown <= {kind for kind in theirs if kind.startswith(("Xla", "_Fused"))}, unknown
    assert not ALLOWED & (INITIALISES | RESTORES | SAVES | NOWHERE)


def test_nothing_that_is_allowed_has_a_name_of_something_outside(tf):
    words = ("File", "Dataset", "Summary", "PyFunc", "Debug", "Reader", "Iterator", "Send", "Recv", "Remote", "Save")
    assert [kind for kind in ALLOWED | INITIALISES if any(word in kind for word in words)] == []
