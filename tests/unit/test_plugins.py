"""The loader: metadata alone, one plugin at a time, every fault named, nothing ignored."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeai import plugins
from edgeai.api import (
    ConfigError,
    ConversionFailed,
    ConvertRequest,
    EdgeaiError,
    FrameContext,
    InferenceFailed,
    ModelRejected,
    OpenRequest,
    PluginConflict,
    PluginFault,
    PluginIncompatible,
    PluginNotFound,
    SinkRequest,
    TaskFailed,
    TaskRequest,
    TensorSpec,
    TransformFailed,
    late,
)
from edgeai.plugins import PluginInfo, Registry
from edgeai.testing.distributions import write_fake_distribution, write_fakes
from edgeai.testing.examples import example_frame, instance_ref
from edgeai.testing.fakes import write_fake_artifact

INPUTS = (TensorSpec(name="image", dtype="float32", shape=(1, 4)),)
OUTPUTS = (TensorSpec(name="probabilities", dtype="float32", shape=(1, 2)),)
HEAD = "from edgeai.api import *\nEDGEAI_API = (1, 0)\n"
TASK = """
def build(request): raise TaskFailed('never')
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that installs a plugin of this source, for this test alone."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def install(name: str, source: str, **more: object) -> Path:
        return write_fake_distribution(tmp_path, name=name, module_source=source, **more)

    yield install
    for module in set(sys.modules) - before:
        del sys.modules[module]


def task_plugin(name: str) -> str:
    return f"{HEAD}{TASK}@hookimpl\ndef edgeai_tasks(): return (TaskSpec(name={name!r}, build=build),)\n"


# --- find


def test_find_reads_metadata_and_imports_nothing(installed, tmp_path):
    installed("broken", "raise SystemExit('imported')")
    program = (
        "import sys\nfrom edgeai.plugins import find\nfound = find()\n"
        "assert 'broken' in {info.name for info in found}, found\n"
        "imported = {info.module for info in found} & set(sys.modules)\n"
        "assert not imported, imported\n"
        "assert not {'pydicom', 'paho', 'pydantic', 'pytest', 'cv2', 'tensorflow'} & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{':'.join(p for p in sys.path if p)}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_find_names_where_a_plugin_comes_from(installed):
    installed("acme-npu", "", version="2.1", entry_points={"npu": "acme_npu"})
    assert PluginInfo("npu", "acme_npu", "acme-npu", "2.1") in plugins.find()


def test_find_passes_over_metadata_that_cannot_be_read(installed, tmp_path):
    installed("fine", "")
    info = installed("spoilt", "")
    info.joinpath("entry_points.txt").write_bytes(b"[edgeai.plugins]\n\xff\xfe = x\n")
    nameless = installed("nameless", "")
    nameless.joinpath("METADATA").unlink()
    names = {plugin.name for plugin in plugins.find()}
    assert "fine" in names
    assert "spoilt" not in names


def test_find_shows_only_the_version_that_would_be_imported(installed, tmp_path, monkeypatch):
    installed("acme", "")
    second = tmp_path / "later"
    write_fake_distribution(second, name="acme", version="9.0", module_source="")
    monkeypatch.setattr(sys, "path", [*sys.path, str(second)])
    assert [info.version for info in plugins.find() if info.name == "acme"] == ["1.0"]


# --- load


def test_load_takes_what_the_hooks_return(installed):
    installed("good", task_plugin("look"))
    plugin = plugins.load("good")
    assert [spec.name for spec in plugin.tasks] == ["look"]
    assert plugin.backends == ()
    assert plugin.api == (1, 0)
    assert plugin.info.distribution == "good"


def test_unknown_name_says_the_nearest(installed):
    installed("openvinoo", "")
    with pytest.raises(PluginNotFound, match="did you mean 'openvino") as caught:
        plugins.load("openvinox")
    assert "openvinoo" in caught.value.remedy


def test_one_name_of_two_distributions_names_both(installed):
    installed("acme-one", task_plugin("a"), entry_points={"acme": "acme_one"})
    installed("acme-two", task_plugin("b"), entry_points={"acme": "acme_two"})
    with pytest.raises(PluginConflict, match=r"acme-one 1\.0 and acme-two 1\.0"):
        plugins.load("acme")


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("", "states no EDGEAI_API"),
        ("EDGEAI_API = (2, 0)", r"\(2, 0\)"),
        ("EDGEAI_API = (1, 99)", r"\(1, 99\)"),
        ("EDGEAI_API = '1.0'", "'1.0'"),
        ("EDGEAI_API = (1,)", r"\(1,\)"),
        ("EDGEAI_API = None", "states no EDGEAI_API"),
    ],
)
def test_an_api_that_does_not_fit_is_refused_before_any_hook_is_called(installed, declared, says):
    hook = "from edgeai.api import hookimpl\n@hookimpl\ndef edgeai_tasks(): raise AssertionError('called')\n"
    installed("other", f"{hook}{declared}\n")
    with pytest.raises(PluginIncompatible, match=says) as caught:
        plugins.load("other")
    assert "other 1.0" in str(caught.value)


IMPORTING = {
    "raises": ("1 / 0", "ZeroDivisionError"),
    "lacks a library": ("import no_such_engine", "No module named 'no_such_engine'"),
    "is not Python": ("def", "SyntaxError"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "calls sys.exit": ("import sys; sys.exit()", "SystemExit"),
    "raises what is no Exception": ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
}
HOOKS = {
    "raises": ("def edgeai_tasks(): return 1 / 0", "ZeroDivisionError"),
    "exits": ("def edgeai_tasks(): raise SystemExit", "SystemExit"),
    "returns None": ("def edgeai_tasks(): return None", "nothing, not a tuple of TaskSpec"),
    "returns a list": ("def edgeai_tasks(): return []", "list, not a tuple of TaskSpec"),
    "returns a generator": ("def edgeai_tasks(): yield", "generator|hookwrapper|nothing"),
    "returns another kind": ("def edgeai_tasks(): return (Device(name='CPU'),)", "Device in place of TaskSpec"),
    "returns the class": ("def edgeai_tasks(): return (TaskSpec,)", "type in place of TaskSpec"),
    "returns a name twice": (
        "def edgeai_tasks(): return (TaskSpec(name='a', build=print), TaskSpec(name='a', build=print))",
        "'a' twice",
    ),
    "returns a bad name": ("def edgeai_tasks(): return (TaskSpec(name='A task', build=print),)", "'A task' is not"),
    "returns what cannot be called": ("def edgeai_tasks(): return (TaskSpec(name='a', build=3),)", "a.build is int"),
    "returns odd options": (
        "def edgeai_tasks(): return (TaskSpec(name='a', build=print, options=['x']),)",
        "OptionSpec",
    ),
    "is misspelt": ("def edgeai_task(): return ()", "edgeai_task"),
    "takes arguments": ("def edgeai_tasks(config): return ()", "config"),
    "is of an unknown kind": ("def edgeai_painters(): return ()", "edgeai_painters"),
}


@pytest.mark.parametrize("what", IMPORTING)
def test_a_plugin_that_does_not_import_is_a_fault_with_its_name(installed, what):
    source, says = IMPORTING[what]
    installed("acme", source)
    with pytest.raises(PluginFault, match=says) as caught:
        plugins.load("acme")
    assert "plugin 'acme' (acme 1.0), import" in str(caught.value)
    assert caught.value.code == "plugin.import-failed"


@pytest.mark.parametrize(
    ("source", "line", "kind"),
    [
        ("import json\n\nx = 1 / 0\n", 3, "ZeroDivisionError"),
        ("def f():\n    import no_such_engine\nf()\n", 2, "ModuleNotFoundError"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),  # the plugin's line, not the library's
        ("x = 1\ny = = 2\n", 2, "SyntaxError"),
        ("x = 1\nraise SystemExit(3)\n", 2, "SystemExit"),
        (f"{HEAD}@hookimpl\ndef edgeai_tasks():\n    return 1 / 0\n", 5, "ZeroDivisionError"),
    ],
)
def test_a_fault_of_loading_names_its_place_in_the_plugin(installed, tmp_path, source, line, kind):
    installed("acme", source)
    with pytest.raises(PluginFault) as caught:
        plugins.load("acme")
    assert kind in str(caught.value)
    assert str(caught.value).endswith(f"({tmp_path / 'acme.py'}, line {line})")


def test_a_module_that_is_not_there_has_no_place(installed):
    installed("acme", "", entry_points={"acme": "acme_gone"})
    with pytest.raises(PluginFault, match=r"No module named 'acme_gone'$"):
        plugins.load("acme")


@pytest.mark.parametrize("what", HOOKS)
def test_a_hook_that_breaks_the_contract_is_a_fault_with_its_name(installed, what):
    source, says = HOOKS[what]
    installed("acme", f"{HEAD}@hookimpl\n{source}\n")
    with pytest.raises(PluginFault, match=says) as caught:
        plugins.load("acme")
    assert "plugin 'acme' (acme 1.0)" in str(caught.value)
    assert caught.value.code == "plugin.registration-failed"


def test_a_hook_without_its_mark_is_a_fault(installed):
    installed("acme", f"{HEAD}def edgeai_tasks(): return ()\n")
    with pytest.raises(PluginFault, match="edgeai_tasks is not marked with @hookimpl"):
        plugins.load("acme")


def test_an_entry_point_must_name_a_module(installed):
    installed("acme", "", entry_points={"acme": "acme:plugin"})
    with pytest.raises(PluginFault, match="acme:plugin"):
        plugins.load("acme")


def test_ctrl_c_is_the_users(installed):
    installed("acme", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.load("acme")


# --- registry


def test_a_broken_plugin_does_not_stop_the_others(installed):
    installed("bad", "1 / 0")
    installed("good", task_plugin("look"))
    told: list[EdgeaiError] = []
    registry = Registry.of(["bad", "good", "absent", "good"], on_fault=told.append)
    assert list(registry.tasks) == ["look"]
    assert list(registry.faults) == ["bad", "absent"]
    assert told == list(registry.faults.values())
    assert registry.provider(registry.tasks["look"]).name == "good"


def test_only_what_is_named_is_loaded(installed):
    installed("named", task_plugin("look"))
    installed("unnamed", "raise AssertionError('imported')")
    assert not Registry.of(["named"]).faults


def test_one_spec_of_two_plugins_names_both(installed):
    installed("acme-one", task_plugin("look"))
    installed("acme-two", task_plugin("look"))
    with pytest.raises(PluginConflict, match=r"task 'look'.*acme-one 1\.0.*acme-two 1\.0"):
        Registry.of(["acme-one", "acme-two"])


def test_a_spec_that_is_missing_names_the_plugins_that_faulted(installed):
    installed("bad", "1 / 0")
    registry = Registry.of(["bad"])
    with pytest.raises(PluginNotFound, match=r"no loaded plugin provides task 'look'.*'bad'.*ZeroDivisionError"):
        registry.spec("task", "look")


# --- hosted calls


@pytest.fixture
def fakes(tmp_path, monkeypatch) -> Registry:
    write_fakes(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Registry.of(["fakes"])


@pytest.fixture
def request_for(tmp_path):
    path = write_fake_artifact(tmp_path / "model.json", INPUTS, OUTPUTS)
    return OpenRequest(artifact=path, device="CPU", inputs=INPUTS, outputs=OUTPUTS)


IMAGE = {"image": np.zeros((1, 4), np.float32)}


@pytest.mark.parametrize("how", ["raise", "raise-base", "exit"])
def test_what_a_session_raises_names_plugin_and_step(fakes, request_for, how):
    session = fakes.backends[f"fake-{how}"].open(request_for)
    with pytest.raises(PluginFault, match=f"plugin 'fakes' .edgeai-fakes 1.0., backend 'fake-{how}': run: "):
        session.run(IMAGE)
    with pytest.raises(PluginFault, match=f"backend 'fake-{how}': stream: "):
        list(session.stream([IMAGE]))


def test_our_own_errors_pass_as_they_are(fakes, request_for):
    with pytest.raises(ModelRejected):
        fakes.backends["fake-works"].open(OpenRequest(artifact=Path("/none"), device="CPU", inputs=(), outputs=()))
    session = fakes.backends["fake-works"].open(request_for)

    def feed():
        yield IMAGE
        raise InferenceFailed("the host's own")

    with pytest.raises(InferenceFailed, match="the host's own"):
        list(session.stream(feed()))


def test_the_hosts_errors_in_a_stream_are_not_laid_on_the_plugin(fakes, request_for):
    def feed():
        yield IMAGE
        raise OSError("the host's disk")

    session = fakes.backends["fake-works"].open(request_for)
    with pytest.raises(OSError, match="the host's disk"):
        list(session.stream(feed()))


def test_another_device_than_the_one_asked_for_is_a_fault(fakes, request_for):
    with pytest.raises(PluginFault, match=r"asked for device 'CPU', opened 'FAKE\.1'") as caught:
        fakes.backends["fake-elsewhere"].open(request_for)
    assert caught.value.code == "plugin.contract"


def test_a_task_that_finds_nothing_is_a_fault_and_no_negative(fakes):
    task = fakes.tasks["fake-silent"].build(TaskRequest(options={"labels": ["a", "b"]}, outputs=OUTPUTS))
    context = FrameContext(frame=example_frame(), instance=instance_ref())
    with pytest.raises(PluginFault, match="no findings"):
        task.interpret({"probabilities": np.zeros((1, 2), np.float32)}, context)


def test_a_transform_that_raises_is_a_fault(fakes):
    transform = fakes.transforms["fake-raises"].build({"rows": 4, "columns": 4})
    with pytest.raises(PluginFault, match="transform 'fake-raises': apply: KeyError"):
        transform.apply(example_frame())


def test_what_opens_into_nothing_is_a_fault(installed):
    installed("acme", f"{HEAD}@hookimpl\ndef edgeai_tasks(): return (TaskSpec(name='a', build=lambda r: None),)\n")
    with pytest.raises(PluginFault, match="NoneType, which has no interpret, summarise"):
        plugins.load("acme").tasks[0].build(TaskRequest(options={}, outputs=()))


def test_a_probe_that_answers_nonsense_is_a_fault(installed):
    spec = "BackendSpec(name='a', artifact_format='x', probe=lambda: ['CPU'], open=print, engine=str)"
    installed("acme", f"{HEAD}@hookimpl\ndef edgeai_backends(): return ({spec},)\n")
    with pytest.raises(PluginFault, match="sequence of Device"):
        plugins.load("acme").backends[0].probe()


def test_an_artifact_outside_the_output_is_a_fault(installed, tmp_path):
    convert = "convert=lambda request: Converted(artifact=request.model)"
    spec = f"ConverterSpec(name='a', artifact_format='x', precisions=('fp32',), {convert})"
    installed("acme", f"{HEAD}@hookimpl\ndef edgeai_converters(): return ({spec},)\n")
    convert = plugins.load("acme").converters[0].convert
    (tmp_path / "output").mkdir()
    (tmp_path / "a.keras").touch()
    request = ConvertRequest(
        model=tmp_path / "a.keras", output=tmp_path / "output", precision="fp32", inputs=(), outputs=()
    )
    with pytest.raises(PluginFault, match="outside"):
        convert(request)


# --- options: none is ignored


def test_unknown_and_missing_options_are_refused_for_the_plugin(fakes):
    build = fakes.transforms["fake-subsample"].build
    with pytest.raises(TransformFailed, match="unknown option 'collumns'; did you mean 'columns'") as caught:
        build({"rows": 4, "columns": 4, "collumns": 4})
    assert caught.value.code == "transform.options"
    with pytest.raises(TransformFailed, match="option 'columns' is missing"):
        build({"rows": 4})


def test_each_kind_has_its_own_error_for_options(fakes, request_for, tmp_path):
    from dataclasses import replace

    with pytest.raises(ModelRejected, match="unknown option"):
        fakes.backends["fake-works"].open(replace(request_for, options={"x": 1}))
    with pytest.raises(ConfigError, match="unknown option"):
        fakes.backends["fake-works"].open(replace(request_for, settings={"x": 1}))
    with pytest.raises(TaskFailed, match="unknown option"):
        fakes.tasks["fake-classify"].build(TaskRequest(options={"labels": ["a"], "x": 1}, outputs=OUTPUTS))
    with pytest.raises(ConfigError, match="unknown option"):
        fakes.sinks["fake-file"].open(SinkRequest(device_id="d", site="s", settings={"path": "p", "x": 1}))
    convert = ConvertRequest(model=tmp_path, output=tmp_path, precision="int3", inputs=(), outputs=())
    with pytest.raises(ConversionFailed, match="no precision 'int3'"):
        fakes.converters["fake-unpack"].convert(convert)


def test_choices_are_held(installed):
    option = "OptionSpec(name='mode', help='h', choices=('a', 'b'))"
    spec = f"TransformSpec(name='t', build=lambda o: None, options=({option},))"
    installed("acme", f"{HEAD}@hookimpl\ndef edgeai_transforms(): return ({spec},)\n")
    with pytest.raises(TransformFailed, match="mode = 'c' is not one of 'a', 'b'"):
        plugins.load("acme").transforms[0].build({"mode": "c"})


def test_every_registered_name_in_this_checkout_is_found():
    names = {info.name for info in plugins.find()}
    assert {"mqtt", "jsonl", "tflite", "openvino", "gpu", "transforms", "classify"} <= names


# --- late


def test_what_is_named_late_is_imported_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "acme_engine.py").write_text("def twice(number): return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    twice = late("acme_engine:twice")
    assert "acme_engine" not in sys.modules
    assert twice(21) == 42
    assert "acme_engine" in sys.modules


def test_a_converter_says_which_module_it_lacks_and_which_extra_has_it(tmp_path, monkeypatch):
    (tmp_path / "acme_convert.py").write_text("import acme_framework\ndef convert(request): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConversionFailed, match="acme_framework") as failure:
        late("acme_convert:convert", extra="edgeai-acme[build]")(object())
    assert (failure.value.code, failure.value.remedy) == ("convert.engine-missing", "pip install 'edgeai-acme[build]'")
    with pytest.raises(ModuleNotFoundError):
        late("acme_convert:convert")(object())


def test_every_place_that_our_plugins_name_is_there(repo_root):
    places = [
        (path, *match)
        for path in repo_root.glob("plugins/*/edgeai_*/__init__.py")
        for match in re.findall(r'late\("([\w.]+):(\w+)"', path.read_text(encoding="utf-8"))
    ]
    assert len(places) > 20
    for path, module, function in places:
        file = path.parents[1].joinpath(*module.split("."))
        source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        assert f"\ndef {function}(" in source.read_text(encoding="utf-8"), f"{path}: {module}:{function}"
