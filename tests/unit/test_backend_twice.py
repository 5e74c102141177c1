"""A backend's name that two plugins provide is used by none, and every command says so in the same words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api import PluginConflict, PluginNotFound
from edgeai.cli.main import run
from edgeai.doctor.engines import Plugins, plugin_checks
from edgeai.model import open_model
from edgeai.plugins import Registry
from edgeai.resolving import Installed
from edgeai_workbench.as_is import plugin_for
from edgeai_workbench.convert import loaded

Make = Callable[..., Path]
SAID = "backend 'twin' is provided by plugin 'twin' (twin 1.0) and by plugin 'twin-b' (twin-b 1.0)"
REMEDY = "uninstall all of these distributions but one"
Install = Callable[..., None]


@pytest.fixture(params=["declared", "undeclared", "one-declared"])
def twins(request: pytest.FixtureRequest, install: Install) -> None:
    """One backend of two plugins, of which one is called as it."""
    install("twin", {"twin": 1}, declared=request.param != "undeclared")
    install("twin-b", {"twin": 1}, declared=request.param == "declared")


def _told(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "edgeai", *words], capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout, " ".join(done.stderr.split())


# --- what is provided twice is nobody's ----------------------------------------------------------


@pytest.mark.usefixtures("twins")
def test_the_plugin_of_that_name_has_no_precedence() -> None:
    with pytest.raises(PluginConflict) as caught:
        Installed().resolve("backend", "twin")
    assert str(caught.value) == SAID
    assert caught.value.code == "plugin.conflict"
    assert REMEDY in (caught.value.remedy or "")


@pytest.mark.usefixtures("twins")
def test_it_is_among_the_conflicts_and_not_among_what_there_is(install: Install) -> None:
    install("twin-sound", {"twin-sound": 7})
    installed = Installed()
    names = [spec.name for spec, _ in installed.every("backend")]
    assert "twin-sound" in names
    assert "twin" not in names
    assert {(spec.name, str(error)) for spec, error in installed.contested("backend")} == {("twin", SAID)}
    assert installed.contested("task") == []
    assert installed.opening("fake") is not None
    assert installed.opening("fake")[1].name == "twin-sound"  # type: ignore[index]
    with pytest.raises(PluginNotFound) as caught:
        installed.resolve("backend", "zzzz")
    assert "twin-sound" in (caught.value.remedy or "")
    assert "twin," not in (caught.value.remedy or "")


@pytest.mark.usefixtures("twins")
@pytest.mark.parametrize("word", ["twin-b", "TWIN_B"])
def test_the_name_of_one_of_the_two_plugins_is_no_way_round(word: str) -> None:
    with pytest.raises(PluginConflict) as caught:
        Installed().resolve("backend", word)
    assert str(caught.value) == SAID


def test_three_are_all_named(install: Install) -> None:
    for name in ("twin-a", "twin-b", "twin-c"):
        install(name, {"twin": 1})
    with pytest.raises(PluginConflict, match=r"twin-a 1\.0.*twin-b 1\.0.*twin-c 1\.0"):
        Installed().resolve("backend", "twin")


def test_names_that_only_resemble_are_two(install: Install) -> None:
    install("twin", {"twin": 1})
    install("twin-b", {"twin-b": 1})
    assert Installed().resolve("backend", "twin")[1].name == "twin"
    assert Installed().resolve("backend", "twin-b")[1].name == "twin-b"


# --- every command says it -----------------------------------------------------------------------

ONE_WAY = pytest.mark.parametrize(
    "twins",
    ["one-declared", *(pytest.param(way, marks=pytest.mark.torture) for way in ("declared", "undeclared"))],
    indirect=True,
)
"""In processes: who declares what is for the registry alone, which is asked above."""


@pytest.mark.usefixtures("twins")
def test_infer_refuses_the_name(make_bundle: Make, tmp_path: Path) -> None:
    with pytest.raises(PluginConflict) as caught:
        open_model(make_bundle(plugins=("acme-parts",)), backends=("twin",), cache_dir=tmp_path / "cache")
    assert str(caught.value) == SAID


@pytest.mark.parametrize("declared", [True, False])
def test_infer_serves_on_another_where_nobody_names_it(
    install: Install, make_bundle: Make, tmp_path: Path, declared: bool
) -> None:
    install("twin", {"twin": 1}, declared=declared)
    install("twin-b", {"twin": 1}, declared=declared)
    install("twin-sound", {"twin-sound": 7})
    with open_model(make_bundle(plugins=("acme-parts",)), cache_dir=tmp_path / "cache") as model:
        assert model.engine.backend == "twin-sound"


@ONE_WAY
@pytest.mark.usefixtures("twins")
@pytest.mark.slow
def test_fastest_passes_it_over_aloud(install: Install, make_bundle: Make, tmp_path: Path) -> None:
    install("twin-sound", {"twin-sound": 7})
    bundle = make_bundle(plugins=("acme-parts",))
    with open_model(bundle, backends=("fastest",), cache_dir=tmp_path / "cache") as model:
        assert model.engine.backend == "twin-sound"
        assert model.degraded is not None
        assert SAID in str(model.degraded)


@ONE_WAY
@pytest.mark.usefixtures("twins")
@pytest.mark.slow
def test_fastest_minds_none_that_opens_no_artifact_of_it(install: Install, make_bundle: Make, tmp_path: Path) -> None:
    install("twin-sound", {"twin-sound": 7})
    for name in ("acme-a", "acme-b"):
        install(name, {"acme-other": 1}, form="other")
    with open_model(make_bundle(plugins=("acme-parts",)), backends=("fastest",), cache_dir=tmp_path / "c") as model:
        assert "acme-other" not in str(model.degraded)


@ONE_WAY
@pytest.mark.usefixtures("twins")
@pytest.mark.slow
def test_bench_says_it_of_the_name_and_without(install: Install, make_bundle: Make) -> None:
    bundle = str(make_bundle(plugins=("acme-parts",)))
    code, _, err = _told("bench", bundle, "--backend", "twin")
    assert code == 1
    assert SAID in err
    assert "plugin.conflict" in err
    install("twin-sound", {"twin-sound": 7})
    code, out, err = _told("bench", bundle, "--json", "--threads", "1")
    assert code == 0, err
    assert {trial["backend"] for trial in json.loads(out)["trials"]} == {"twin-sound"}
    assert SAID in err


@ONE_WAY
@pytest.mark.usefixtures("twins")
@pytest.mark.slow
def test_the_list_of_plugins_says_it_in_both_its_forms() -> None:
    code, out, err = _told("plugins", "list")
    assert code == 0
    assert SAID in err
    assert REMEDY in err
    _, out, _ = _told("plugins", "list", "--json")
    problems = {row["name"]: row["problem"] for row in json.loads(out)}
    assert problems["twin"] == problems["twin-b"] == SAID
    assert problems["acme-parts"] is None


@pytest.mark.usefixtures("twins")
def test_a_service_that_allows_both_serves_neither_and_one_alone_is_no_conflict() -> None:
    with pytest.raises(PluginConflict) as caught:
        Registry.of(["twin", "twin-b"])
    assert str(caught.value) == SAID
    assert "plugins.allow" in (caught.value.remedy or "")
    assert list(Registry.of(["twin"]).backends) == ["twin"], "the operator has said which"


@pytest.mark.parametrize("wished", ["", 'backends = ["twin"]', 'backends = ["auto"]'])
def test_config_check_says_it_of_those_that_are_allowed(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], wished: str
) -> None:
    for name in ("twin", "twin-b"):
        install(name, {"twin": 1}, declared=True)
    profile = tmp_path / "profile.toml"

    def check(*allow: str) -> tuple[int, str]:
        deployment = f'[[deployments]]\nname = "a"\nbundle = "{tmp_path}"\n{wished}\n'
        text = f'[device]\nsite = "s"\nid = "d"\n[plugins]\nallow = {json.dumps(allow)}\n{deployment}'
        profile.write_text(text)
        return run(["config", "check", str(profile)]), " ".join(capsys.readouterr().err.split())

    (tmp_path / "manifest.json").write_text("{}")
    code, err = check("twin", "twin-b")
    assert code == 2
    assert f"plugins.allow: {SAID}" in err
    assert REMEDY in err
    for one in ("twin", "twin-b"):
        assert SAID not in check(one)[1], "the operator has said which"
        assert "not allowed" not in check(one)[1]


def test_config_check_names_all_that_could_be_allowed(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("acme-a", "acme-b"):
        install(name, {"twin": 1}, declared=True)
    profile = tmp_path / "profile.toml"
    deployment = f'[[deployments]]\nname = "a"\nbundle = "{tmp_path}"\nbackends = ["twin"]\n'
    profile.write_text(f'[device]\nsite = "s"\nid = "d"\n[plugins]\nallow = ["classify"]\n{deployment}')
    assert run(["config", "check", str(profile)]) == 2
    assert "none of the plugins acme-a, acme-b is allowed: add one of them" in capsys.readouterr().err


def test_doctor_says_it_of_the_allowed_plugins() -> None:
    backend = {"name": "twin", "engine": "fake 1", "devices": ["cpu"], "why": "", "install": ""}
    answers = {
        name: {"plugin": name, "info": f"plugin '{name}' ({name} 1.0)", "backends": [backend]}
        for name in ("twin", "twin-b")
    }
    plugins = Plugins(answers=answers, deaths={}, missing=())

    class Nothing:
        deployments = ()

    checks = list(plugin_checks(plugins, Nothing()))  # type: ignore[arg-type]
    assert [(check.what, check.verdict, check.found) for check in checks] == [("backend twin", "fail", SAID)]
    assert REMEDY in checks[0].remedy


@pytest.mark.usefixtures("twins")
def test_pack_and_build_use_neither() -> None:
    with pytest.raises(PluginConflict) as caught:
        plugin_for("fake")
    assert str(caught.value) == SAID
    with pytest.raises(PluginConflict) as caught:
        loaded(["twin"])
    assert str(caught.value) == SAID
