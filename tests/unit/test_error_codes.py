"""Errors that no module's own tests raise: each with the code that errors.md promises, and a sentence."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeai.api import (
    ConfigError,
    ConversionFailed,
    ConvertRequest,
    EdgeaiError,
    EvaluationFailed,
    FrameContext,
    Message,
    ModelRejected,
    OpenRequest,
    SinkRequest,
    TaskFailed,
    TaskRequest,
    TensorSpec,
    errors,
)
from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import read_manifest
from edgeai.plugins import Registry
from edgeai.spool import Spool
from edgeai.testing.examples import example_frame
from edgeai.testing.scripted_broker import Puback, ScriptedBroker

DEFAULTS = {
    "EdgeaiError": "edgeai.error",
    "ConfigError": "config.invalid",
    "InputRejected": "input.rejected",
    "DicomRejected": "dicom.rejected",
    "PixelsRejected": "pixels.rejected",
    "TensorMismatch": "tensor.mismatch",
    "TransformFailed": "transform.failed",
    "TaskFailed": "task.failed",
    "TaskMisfit": "task.misfit",
    "BackendError": "backend.error",
    "BackendUnavailable": "backend.unavailable",
    "ModelRejected": "backend.model-rejected",
    "InferenceFailed": "backend.inference-failed",
    "SessionClosed": "backend.session-closed",
    "ConversionFailed": "convert.failed",
    "CompressionFailed": "compress.failed",
    "GateFailed": "gate.failed",
    "EvaluationFailed": "evaluate.failed",
    "FigureUndefined": "evaluate.undefined",
    "DataRejected": "data.rejected",
    "BundleRejected": "bundle.rejected",
    "PluginError": "plugin.error",
    "PluginNotFound": "plugin.not-found",
    "PluginIncompatible": "plugin.incompatible",
    "PluginConflict": "plugin.conflict",
    "PluginFault": "plugin.fault",
    "PluginQuarantined": "plugin.quarantined",
    "JobFailed": "job.failed",
    "SpoolError": "spool.error",
    "SpoolFull": "spool.full",
    "MqttError": "mqtt.error",
    "SinkFailed": "sink.failed",
}
"""The whole tree: class and code where its raiser gives none."""


def code_of(call: Callable[[], object], kind: type[EdgeaiError] = EdgeaiError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value)
    return caught.value.code


def test_each_class_has_its_code_and_keeps_it_between_processes() -> None:
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert {name: kind.default_code for name, kind in kinds.items()} == DEFAULTS
    for name, kind in kinds.items():
        with pytest.raises(EdgeaiError) as caught:
            raise kind("why", remedy="do this")
        assert (caught.value.code, str(caught.value), caught.value.remedy) == (DEFAULTS[name], "why", "do this")
        narrower = kind("why", code="area.narrower", remedy="do this")
        again = pickle.loads(pickle.dumps(narrower))
        assert (type(again), again.code, str(again), again.remedy) == (kind, "area.narrower", "why", "do this")


# --- DICOM and bundles --------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"\0", b"\0\0\0\1", b"\x08\0\0\1\2\0\0\0\0\0", b"\0\0\0\1\xff\0\0\0\0\0"])
def test_bytes_that_are_no_command_set(raw: bytes) -> None:
    from edgeai.dicom.dimse import read_command

    assert code_of(lambda: read_command(raw)) == "dicom.command"


def test_a_header_that_a_zip_program_wrote_is_no_bundles(
    write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.edgeai"
    pack(write_tiny(b"weights" * 300), tiny, path)
    sound = path.read_bytes()
    assert read_manifest(path)
    data = bytearray(sound)
    data[data.rindex(b"PK\x01\x02") + 36] ^= 1  # an attribute in a member's entry of the directory
    path.write_bytes(data)
    assert code_of(lambda: read_manifest(path)) == "bundle.wrong-header"


def test_a_spool_that_is_no_file_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "spool" / "spool.sqlite").mkdir(parents=True)
    assert code_of(lambda: Spool(tmp_path / "spool")) == "spool.unreadable"


# --- plugins ------------------------------------------------------------------------------------------


def test_options_and_settings_that_a_spec_does_not_know(fakes: Registry, tmp_path: Path) -> None:
    backend = fakes.backends["fake-works"]
    image = TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
    common: dict[str, Any] = {"artifact": tmp_path, "device": "CPU", "inputs": (image,), "outputs": (image,)}
    unknown = OpenRequest(**common, options={"nonsense": 1})
    assert code_of(lambda: backend.open(unknown), ModelRejected) == "backend.options"
    unset = OpenRequest(**common, settings={"nonsense": 1})
    assert code_of(lambda: backend.open(unset), ConfigError) == "config.options"
    sink = fakes.spec("sink", "fake-file")
    request = SinkRequest(device_id="cart", site="lab", settings={"path": str(tmp_path / "x"), "nonsense": 1})
    assert code_of(lambda: sink.open(request), ConfigError) == "config.options"  # type: ignore[union-attr]


def test_a_precision_that_a_converter_does_not_make(fakes: Registry, tmp_path: Path) -> None:
    converter = fakes.spec("converter", "fake-unpack")
    request = ConvertRequest(model=tmp_path, output=tmp_path, precision="int4", inputs=(), outputs=())
    assert code_of(lambda: converter.convert(request), ConversionFailed) == "convert.precision"  # type: ignore[union-attr]


def test_a_format_that_nobody_opens() -> None:
    from edgeai_workbench.convert import backend_of

    assert code_of(lambda: backend_of(Registry.of_plugins([]), "tflite"), ConversionFailed) == "convert.no-backend"


def test_samples_that_are_missing_or_wrong(tmp_path: Path) -> None:
    calibration = pytest.importorskip("edgeai_keras.calibration")
    image = TensorSpec(name="image", dtype="float32", shape=(1, 2), layout=None)

    def request(*samples: Any) -> ConvertRequest:
        return ConvertRequest(
            model=tmp_path / "m.keras",
            output=tmp_path,
            precision="int8",
            inputs=(image,),
            outputs=(),
            calibration=(lambda: iter(samples)) if samples != (None,) else None,
        )

    def check(*samples: Any) -> str:
        return code_of(lambda: calibration.check_calibration(request(*samples), calibrated=["int8"]), ConversionFailed)

    assert check(None) == check() == "convert.calibration-missing"
    good = {"image": np.zeros((1, 2), np.float32)}
    for wrong in (np.zeros((1, 3), np.float32), np.zeros((1, 2)), np.full((1, 2), np.nan, np.float32)):
        assert check(good, {"image": wrong}) == "convert.calibration-invalid"
    assert check({"other": good["image"]}) == "convert.calibration-invalid"
    assert calibration.check_calibration(request(good, good), calibrated=["int8"]).first(9) == [good, good]


@pytest.mark.parametrize("what", ["model-too-large", "weights-elsewhere", "engine-missing"])
def test_a_compressor_calls_by_its_own_area_what_its_reader_refuses(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    loading = pytest.importorskip("edgeai_keras.loading")

    def refuse(path: Path) -> None:
        raise ConversionFailed("no", code=f"convert.{what}", remedy="do this")

    monkeypatch.setattr(loading.model_file, "load", refuse)
    wanted = {
        "model-too-large": "compress.model-too-large",
        "weights-elsewhere": "compress.weights-elsewhere",
        "engine-missing": "compress.engine-missing",
    }
    assert code_of(lambda: loading.load(Path("m.keras"))) == wanted[what]


def test_an_engine_that_is_there_and_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = pytest.importorskip("edgeai_openvino.engine")
    pytest.importorskip("openvino")

    def broken(name: str) -> None:
        raise OSError("libopenvino.so: wrong ELF class")

    monkeypatch.setattr(engine, "importlib", SimpleNamespace(**{**vars(engine.importlib), "import_module": broken}))
    assert code_of(engine.load.__wrapped__) == "backend.engine-broken"  # it may be loaded by now, and is once


def test_a_model_that_gives_another_number_of_values() -> None:
    classify = pytest.importorskip("edgeai_tasks.classify")
    output = TensorSpec(name="out", dtype="float32", shape=(None, None), layout="NC")
    task = classify.SPEC.build(TaskRequest(options={"labels": ["a", "b", "c"]}, outputs=(output,)))
    frame = example_frame()
    context = FrameContext(frame=frame, instance=frame.instance)
    for shape in ((1, 4), (2, 3), (3, 1)):
        values = {"out": np.full(shape, 1 / 3, np.float32)}
        assert code_of(lambda: task.interpret(values, context), TaskFailed) == "task.output"  # noqa: B023
    assert len(task.interpret({"out": np.full((1, 3), 1 / 3, np.float32)}, context)) == 3


# --- MQTT ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code"), [(0x90, "mqtt.topic-invalid"), (0x99, "mqtt.payload-format"), (0x87, "mqtt.not-authorised")]
)
def test_what_a_broker_answers_is_what_a_message_is_refused_for(reason: int, code: str) -> None:
    from edgeai.sinks.mqtt import MqttSink

    with ScriptedBroker(script=lambda _sent: Puback(reason)) as peer:
        sink = MqttSink(SinkRequest(device_id="cart", site="lab", settings={"port": peer.port, "protocol": "5"}))
        [receipt] = sink.put([Message(key="k", channel="result/guard", body=b"{}", sequence=1)])
        assert (receipt.verdict, receipt.code) == ("refused", code)
        sink.close()


def test_what_no_publish_can_carry_is_refused_and_never_sent() -> None:
    from edgeai.sinks.mqtt import MqttSink

    with ScriptedBroker() as peer:
        sink = MqttSink(SinkRequest(device_id="cart", site="lab", settings={"port": peer.port, "protocol": "5"}))
        [receipt] = sink.put([Message(key="k", channel="result/+", body=b"{}", sequence=1)])
        assert (receipt.verdict, receipt.code) == ("refused", "mqtt.unsendable")
        assert peer.sent == []
        sink.close()


# --- commands -----------------------------------------------------------------------------------------


def profile(**sections: Any) -> Any:
    nothing = SimpleNamespace(enabled=False)
    whole = {
        "ingest": SimpleNamespace(scp=nothing, folders=()),
        "mqtt": nothing,
        "jsonl": None,
        "sinks": {},
        "deployments": (),
    }
    return SimpleNamespace(**{**whole, **sections})


def test_a_self_test_without_a_way_in_or_out() -> None:
    from edgeai.cli.selftest_ways import far_end, way_in

    assert code_of(lambda: way_in(profile())) == "selftest.no-way-in"
    assert code_of(lambda: far_end(profile(), None)) == "selftest.no-way-out"  # type: ignore[arg-type]


def test_a_self_test_with_a_certificate_that_is_none(tmp_path: Path) -> None:
    from edgeai.cli.selftest_ways import _tls_to

    (tmp_path / "scp.pem").write_text("none")
    tls: Any = SimpleNamespace(certificate=tmp_path / "scp.pem", key=tmp_path / "scp.key")
    assert code_of(lambda: _tls_to(tls)) == "selftest.tls"


def test_a_backend_that_is_not_installed() -> None:
    from edgeai.cli.given import meant_backends

    assert code_of(lambda: meant_backends(["no-such-backend"]), ConfigError) == "config.backend-missing"


def test_a_demo_without_its_files_or_its_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgeai.cli import demo_files

    assert code_of(lambda: demo_files.find_bundle(tmp_path / "absent.edgeai"), ConfigError) == "demo.bundle"
    monkeypatch.setattr(demo_files, "OTHERS", ("no-such-file.dcm",))
    assert code_of(demo_files.demo_files, ConfigError) == "demo.files"


def test_a_build_host_without_the_extra() -> None:
    from edgeai_workbench.libraries import needed

    assert code_of(lambda: needed("no_such_library.part"), ConfigError) == "build.extra-missing"


def test_a_task_that_no_folder_speaks_of_and_that_cannot_be_trained(tmp_path: Path) -> None:
    from edgeai_workbench.workshop import objective_of, samples_of

    judge: Any = SimpleNamespace(objective=None, folders={}, labels=("head",))
    card: Any = SimpleNamespace(dataset=None, task=SimpleNamespace(name="measure", options={}))
    assert code_of(lambda: objective_of(card, judge), ConfigError) == "build.no-objective"
    (tmp_path / "head").mkdir()
    assert code_of(lambda: samples_of(card, tmp_path, judge), ConfigError) == "build.no-dataset"


def test_what_a_converter_says_it_wrote_must_be_there(tmp_path: Path) -> None:
    from edgeai_workbench.convert import _below

    spec: Any = SimpleNamespace(name="unpack")
    assert code_of(lambda: _below(tmp_path / "model.bin", tmp_path, spec), ConversionFailed) == "convert.nothing"


@pytest.mark.parametrize(
    ("truth", "probabilities"), [((2, 2), (3, 2)), ((2,), (2,)), ((0, 2), (0, 2)), ((2, 3), (2, 2))]
)
def test_truth_and_answers_of_other_shapes(truth: tuple[int, ...], probabilities: tuple[int, ...]) -> None:
    from edgeai_tasks.classify.figures import Classified

    def make() -> object:
        return Classified(
            mode="multi-label",
            truth=np.zeros(truth, bool),
            probabilities=np.zeros(probabilities),
            stated=np.zeros(truth, bool),
        )

    assert code_of(make, EvaluationFailed) == "evaluate.shapes"


def test_a_self_test_of_a_profile_without_a_deployment() -> None:
    from edgeai.cli.selftest_journey import Journey

    journey: Any = SimpleNamespace(config=profile())
    assert code_of(lambda: Journey._rules(journey)) == "selftest.nothing"


def test_a_phantom_that_became_no_job(tmp_path: Path) -> None:
    from edgeai.cli.selftest_journey import Journey

    spool = Spool(tmp_path / "spool")
    journey: Any = SimpleNamespace(spool=spool, limit_s=1.0, _advice=lambda _ways, otherwise: otherwise)
    way: Any = SimpleNamespace(name="the DICOM port")
    stuck = Journey._where(journey, "1.2.3", ["guard"], way, way)
    spool.close()
    assert (stuck.code, stuck.stage) == ("selftest.not-taken", "send")
    assert "did not become a job of guard" in str(stuck)


def test_a_demo_whose_cart_ends(tmp_path: Path) -> None:
    from edgeai.cli.demo_stage import CartProcess

    (tmp_path / "log").write_text("no such file")
    cart: Any = SimpleNamespace(_process=SimpleNamespace(poll=lambda: 1), health=dict, _log=tmp_path / "log")
    with pytest.raises(EdgeaiError, match="no such file") as caught:
        CartProcess.wait_until_ready(cart)
    assert caught.value.code == "demo.not-ready"


def test_a_supervisor_does_not_begin_while_roles_of_another_run() -> None:
    from edgeai.roles.supervise import _begin

    spool: Any = SimpleNamespace(await_silence=lambda _s: ["infer:guard"])
    with pytest.raises(EdgeaiError, match="infer:guard") as caught:
        _begin(spool, None, "")  # type: ignore[arg-type]
    assert caught.value.code == "run.roles-left"


@pytest.mark.parametrize(
    ("sop_class", "uid", "code"),
    [
        ("1.2", "1.2.3", "dicom.sop-class"),
        ("1.1", "", "dicom.invalid-uid"),
        ("1.1", "1." * 32 + "1", "dicom.invalid-uid"),
    ],
)
def test_a_command_that_does_not_fit_its_context(sop_class: str, uid: str, code: str) -> None:
    from edgeai.dicom.association import _malformed
    from edgeai.dicom.dimse import Command, Field

    command = Command(
        field=Field.C_STORE, message_id=1, sop_class_uid=sop_class, sop_instance_uid=uid, has_data_set=True
    )
    refusal = _malformed(command, "1.1")
    assert isinstance(refusal, EdgeaiError)
    assert refusal.code == code


def test_a_model_that_cannot_be_rebuilt_in_half_precision() -> None:
    convert = pytest.importorskip("edgeai_gpu.convert")

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no get_config")

    keras = SimpleNamespace(models=SimpleNamespace(clone_model=refuse))
    model = SimpleNamespace(name="tiny")
    assert code_of(lambda: convert._half(keras, model), ConversionFailed) == "convert.precision-unsupported"
