"""A word for a backend, a task or a plugin means the same in every command, whoever made the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api import ModelFiles, PluginConflict, PluginFault, PluginNotFound
from edgeai.hosting.facts import RESERVED
from edgeai.model import open_model
from edgeai.plugins import Registry, find, load
from edgeai.resolving import Installed, did_you_mean, words_for_backends
from edgeai.selection import AUTO, FASTEST
from edgeai.testing.distributions import write_fake_backend, write_fake_distribution
from edgeai_workbench.card import Recipe
from edgeai_workbench.convert import artifact_of, loaded, plugin_of
from edgeai_workbench.variants import ModelFile

Make = Callable[..., Path]
Install = Callable[..., None]
INFER = "import sys; from edgeai.cli.main import run; status = run(sys.argv[1:]);"
INFER += "print(*sys.modules, file=sys.stderr); sys.exit(status)"


# --- what a word means --------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("word", ["acme-npu", "acme", "edgeai-acme-engine", "EDGEAI_ACME_ENGINE"])
def test_a_backend_goes_by_its_name_its_plugins_or_its_distributions(
    install: Install, word: str, declared: bool
) -> None:
    install("edgeai-acme-engine", {"acme-npu": 5}, plugin="acme", declared=declared)
    spec, info = Installed().resolve("backend", word)
    assert (spec.name, info.name) == ("acme-npu", "acme")


def test_the_name_of_a_backend_comes_before_that_of_a_plugin(install: Install) -> None:
    install("crossed-a", {"crossed-b": 1})
    install("crossed-b", {"crossed-c": 1})
    assert Installed().resolve("backend", "crossed-b")[1].name == "crossed-a"
    assert Installed().resolve("backend", "crossed-a")[0].name == "crossed-b"


def test_a_plugin_of_several_backends_means_none_of_them(install: Install) -> None:
    install("acme-two", {"acme-fast": 1, "acme-small": 2})
    with pytest.raises(PluginNotFound, match="acme-two provides several backends") as caught:
        Installed().resolve("backend", "acme-two")
    assert "acme-fast, acme-small" in (caught.value.remedy or "")
    assert Installed().resolve("backend", "acme-small")[0].name == "acme-small"


@pytest.mark.parametrize(
    ("word", "near"),
    [("acme-np", "acme-npu"), ("ACME_NPU", "acme-npu"), ("acme", "acme-npu"), ("edgeai-acmee", "acme")],
)
def test_an_abbreviation_and_a_slip_are_refused_with_what_is_meant(install: Install, word: str, near: str) -> None:
    install("edgeai-acme", {"acme-npu": 5, "other": 6}, plugin="whatever")
    with pytest.raises(PluginNotFound, match="did you mean") as caught:
        Installed().resolve("backend", word)
    assert near in str(caught.value)
    assert "acme-npu" in (caught.value.remedy or ""), "what there is"


def test_of_what_is_like_nothing_nothing_is_guessed() -> None:
    with pytest.raises(PluginNotFound) as caught:
        Installed().resolve("backend", "zzzz")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(PluginNotFound):
        Installed().resolve("backend", "classify")  # a plugin that provides no backend


def test_two_that_provide_one_name_are_both_named_though_one_is_called_so(install: Install) -> None:
    install("twin-a", {"twin": 1})
    install("twin-b", {"twin": 1})
    with pytest.raises(PluginConflict, match=r"twin-a.*twin-b"):
        Installed().resolve("backend", "twin")
    install("twin", {"twin": 1})
    with pytest.raises(PluginConflict, match=r"'twin' \(.*twin-a.*twin-b"):
        Installed().resolve("backend", "twin")


def test_one_that_does_not_load_is_named_and_stops_no_other(site: Path, install: Install) -> None:
    write_fake_distribution(site, name="acme-broken", module_source="raise OSError('libacme.so.2')")
    install("acme-sound", {"acme-npu": 1})
    with pytest.raises(PluginFault, match=r"libacme\.so\.2"):
        Installed().resolve("backend", "acme-broken")
    installed = Installed()
    assert "acme-npu" in [spec.name for spec, _ in installed.every("backend")]
    assert list(installed.faults) == ["acme-broken"]
    with pytest.raises(PluginNotFound, match=r"acme-broken.*libacme\.so\.2"):
        installed.resolve("backend", "its-backend")


@pytest.mark.parametrize("word", ["classify", "segment"])
def test_tasks_and_converters_are_found_the_same_way(word: str) -> None:
    assert Installed().resolve("task", word)[1].distribution == "edgeai-tasks"
    assert Installed().resolve("converter", "edgeai-gpu")[0].name == "savedmodel"
    with pytest.raises(PluginNotFound, match=f"did you mean '{word}'"):
        Installed().resolve("task", f"{word}x")


def test_a_plugin_goes_by_its_distribution_where_that_has_one(install: Install) -> None:
    install("edgeai-acme-engine", {"acme-npu": 5}, plugin="acme")
    assert Installed().plugin_called("acme") == Installed().plugin_called("edgeai_acme_engine") == "acme"
    with pytest.raises(PluginNotFound, match="several") as caught:
        Installed().plugin_called("edgeai-tasks")
    named = (caught.value.remedy or "").removeprefix("one of ").split(", ")
    assert {"classify", "segment"} < set(named)
    with pytest.raises(PluginNotFound, match="did you mean 'acme'"):
        Installed().plugin_called("edgeai-acme-engin")


CONVERTER = """
from edgeai.api import hookimpl
from edgeai.testing import fake_parts
EDGEAI_API = (1, 3)
@hookimpl
def edgeai_converters():
    return (fake_parts.converter({name!r}),)
"""


@pytest.mark.parametrize("word", ["acme-pack", "acme", "edgeai-acme-tools", "EDGEAI_ACME_TOOLS"])
def test_a_recipes_converter_goes_by_its_name_its_plugins_or_its_distributions(
    site: Path, tmp_path: Path, word: str
) -> None:
    entry_points, source = {"acme": "edgeai_acme_tools"}, CONVERTER.format(name="acme-pack")
    write_fake_distribution(site, name="edgeai-acme-tools", module_source=source, entry_points=entry_points)
    with zipfile.ZipFile(tmp_path / "parent.keras", "w") as archive:
        archive.writestr("model.json", json.dumps({"inputs": [], "outputs": []}))
    model = ModelFile(variant="parent", path=tmp_path / "parent.keras", digest="sha256:0", golden=())
    recipe = Recipe(converter="acme-pack", precision="fp32").model_copy(update={"converter": word})
    assert plugin_of(recipe, Installed()) == "acme"
    registry = loaded([plugin_of(recipe, Installed())])
    artifact, made = artifact_of(recipe, model, folder=tmp_path, registry=registry, inputs=(), outputs=())
    assert made
    assert artifact.converter == "edgeai-acme-tools 1.0"
    named = recipe.model_copy(update={"plugin": "edgeai-acme-tools"})
    assert plugin_of(named, Installed()) == "acme"


def test_a_recipes_converter_that_nothing_has_or_two_have_is_said(site: Path) -> None:
    recipe = Recipe(converter="acme-pack", precision="fp32")
    with pytest.raises(PluginNotFound, match="no installed plugin provides a converter called 'acme-pack'"):
        plugin_of(recipe, Installed())
    for name in ("acme-a", "acme-b"):
        write_fake_distribution(site, name=name, module_source=CONVERTER.format(name="acme-pack"))
    with pytest.raises(PluginConflict, match="converter 'acme-pack' is provided by plugin 'acme-a'"):
        plugin_of(recipe, Installed())


def test_what_people_call_an_engine_is_known_from_its_distribution() -> None:
    plugins, also = words_for_backends(find())
    assert plugins["tflite"] == ("tflite",)
    assert also["litert"] == "tflite", "an extra of the distribution"
    assert also["edgeai-openvino"] == "openvino"
    assert "build" not in also


def test_what_is_near_does_not_mind_how_it_is_written() -> None:
    assert did_you_mean("OpenVINO", ["openvino"]) == "; did you mean 'openvino'?"
    assert did_you_mean("", ["openvino"]) == ""
    assert did_you_mean("litert", {"litert": "tflite"}) == "; did you mean 'tflite'?"


# --- the rank of an engine ----------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
def test_where_nobody_says_which_engine_an_own_one_and_a_foreign_one_go_by_rank(
    install: Install, make_bundle: Make, declared: bool, tmp_path: Path
) -> None:
    install("acme-late", {"acme-late": 50}, declared=declared)
    install("acme-early", {"acme-early": 3}, declared=declared)
    with open_model(make_bundle(plugins=("acme-parts",)), cache_dir=tmp_path / "cache") as model:
        assert model.engine.backend == "acme-early"


@pytest.mark.slow
def test_what_declares_nothing_is_imported_only_where_nothing_else_opens(
    install: Install, make_bundle: Make, make_dicom: Make, tmp_path: Path
) -> None:
    install("acme-silent", {"acme-silent": 1})
    install("acme-said", {"acme-said": 50}, declared=True)
    words = ["infer", str(make_bundle(plugins=("acme-parts",))), str(make_dicom())]
    done = subprocess.run([sys.executable, "-c", INFER, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    modules = done.stderr.split()
    assert "acme_said" in modules
    assert "acme_silent" not in modules


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--backend", "edgeai-acme-engine"], ["--backend", "acme"], []])
def test_bench_and_infer_take_a_foreign_engine_by_any_of_its_names_and_by_none(
    install: Install, make_bundle: Make, make_dicom: Make, words: list[str]
) -> None:
    install("edgeai-acme-engine", {"acme-npu": 5}, plugin="acme")
    bundle = make_bundle(plugins=("acme-parts",))
    bench = [sys.executable, "-m", "edgeai", "bench", str(bundle), "--json", "--threads", "1", *words]
    done = subprocess.run(bench, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert {trial["backend"] for trial in json.loads(done.stdout)["trials"]} == {"acme-npu"}
    infer = [sys.executable, "-m", "edgeai", "infer", str(bundle), str(make_dicom()), "--json", *words]
    done = subprocess.run(infer, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"]["backend"] == "acme-npu"


# --- what a spec says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ("rank='first'", "rank 'first' is no whole number"),
        ("rank=True", "rank True is no whole number"),
        ("libraries='numpy'", "libraries is not a tuple of names"),
        ("files='.acme'", "files is str, not ModelFiles"),
        ("files=ModelFiles(called='an .acme file')", "not either a suffix or what its folder holds"),
        ("files=ModelFiles(called='it', suffix='.a', folder=('b',))", "not either a suffix or what its folder holds"),
        ("files=ModelFiles(called='it', suffix='acme')", "does not begin with a full stop"),
        ("files=ModelFiles(called='it', suffix='.a', beside='.b')", "files.beside '.b' is not a tuple of suffixes"),
        ("files=ModelFiles(called='it', folder='graph')", "files.folder 'graph' is not a tuple of names"),
        ("files=ModelFiles(called='it', folder=('../labels.txt',))", "is not a tuple of names in that folder"),
        (
            "files=ModelFiles(called='it', suffix='.a', made_from={'.b': 'run {nothing}'})",
            "made_from '.b' is no suffix",
        ),
        ("files=ModelFiles(called='it', suffix='.a', made_from={'b': 'run {name}'})", "made_from 'b' is no suffix"),
        ("install=7", "install is int, not the words of a command"),
    ],
)
def test_a_backend_that_says_nonsense_of_itself_is_not_registered(site: Path, facts: str, why: str) -> None:
    source = (
        "from edgeai.api import BackendSpec, ModelFiles, hookimpl\nEDGEAI_API = (1, 3)\n\n@hookimpl\n"
        "def edgeai_backends():\n"
        f"    return (BackendSpec(name='a', artifact_format='x', probe=tuple, open=print, engine=str, {facts}),)\n"
    )
    write_fake_distribution(site, name="acme-nonsense", module_source=source)
    with pytest.raises(PluginFault, match=why):
        load("acme-nonsense")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_backend_is_called_as_a_profile_says_any(site: Path, name: str) -> None:
    write_fake_backend(site, name=name)
    with pytest.raises(PluginFault, match="what a profile says where it names no backend"):
        load(name)
    assert {AUTO, FASTEST} == RESERVED


@pytest.mark.parametrize("artifact_format", ["", "../x y", "a/b", None])
def test_a_format_is_a_word_that_a_manifest_may_have(site: Path, artifact_format: object) -> None:
    source = (
        "from edgeai.api import BackendSpec, hookimpl\nEDGEAI_API = (1, 3)\n\n@hookimpl\ndef edgeai_backends():\n"
        f"    return (BackendSpec(name='a', artifact_format={artifact_format!r},"
        " probe=tuple, open=print, engine=str),)\n"
    )
    write_fake_distribution(site, name="acme-format", module_source=source)
    with pytest.raises(PluginFault, match="artifact_format"):
        load("acme-format")


def test_a_converter_tries_only_what_it_makes(site: Path) -> None:
    source = (
        "from edgeai.api import ConverterSpec, hookimpl\nEDGEAI_API = (1, 3)\n\n@hookimpl\ndef edgeai_converters():\n"
        "    return (ConverterSpec(name='a', artifact_format='x', precisions=('fp32',), first_try=('int4',),"
        " convert=print),)\n"
    )
    write_fake_distribution(site, name="acme-tries", module_source=source)
    with pytest.raises(PluginFault, match="first_try has int4, which is not among precisions"):
        load("acme-tries")


def test_a_plugin_of_an_older_minor_says_none_of_it_and_serves(site: Path) -> None:
    write_fake_backend(site, name="acme-older")
    spec = load("acme-older").backends[0]
    assert (spec.rank, spec.files, spec.install, spec.libraries) == (100, None, "", ())


def test_our_own_backends_say_how_their_models_look() -> None:
    registry = Registry.of(["tflite", "openvino", "gpu", "keras"])
    assert not registry.faults
    for spec in registry.backends.values():
        assert isinstance(spec.files, ModelFiles)
        assert spec.install.startswith("pip install ")
        assert spec.libraries
