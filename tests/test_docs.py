"""What the documents say is so: commands and their options, fields, layers, keys, metrics, examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeai.bundle.bounds import read_bounds
from edgeai.cli.commands import BUILD_HOST, OPS_HOST, OWN, UPDATE_CLIENT
from edgeai.cli.main import app, run
from edgeai.config import DeviceConfig, load_config
from edgeai.testing.require import require

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "firmware-configs").rglob("*.md")]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "edgeai").rglob("*.py"))


def _text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words call, and what is left of them."""
    from typer.main import get_command

    root = get_command(app)
    command = root.get_command(None, words[0])  # type: ignore[attr-defined]
    rest = words[1:]
    while command is not None and hasattr(command, "commands"):
        command = command.commands.get(rest[0])
        rest = rest[1:]
    return command, rest


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


def _called() -> Iterator[tuple[Path, list[str]]]:
    for page in PAGES:
        for block in re.findall(r"```(?:console|sh)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                match = re.match(r"(?:\$ )?(?:sudo (?:-u \w+ )?)?(?:\S*/bin/)?edgeai ([a-z].*)", line)
                if match and "|" not in match[1].split("#")[0].replace("FILES|FOLDERS", ""):
                    yield page, shlex.split(match[1], comments=True)


def test_every_command_line_in_the_documents_is_one_that_edgeai_takes() -> None:
    wrong, seen = [], 0
    for page, words in _called():
        command, rest = _command(words)
        used = {word.strip("[].").split("=")[0] for word in rest if word.lstrip("[").startswith("-")}
        seen += 1
        if command is None or not used <= _options(command) | {">"}:
            wrong.append(f"{page.relative_to(ROOT)}: edgeai {' '.join(words)}")
    assert seen > 30
    assert wrong == []


def test_one_page_leads_to_every_other() -> None:
    index = _text("README.md")
    pages = [path for path in DOCS.rglob("*.md") if path.parent.name != "adr" and path != DOCS / "README.md"]
    assert len(pages) > 20
    assert [str(path.relative_to(DOCS)) for path in pages if f"({path.relative_to(DOCS)})" not in index] == []
    assert "(adr/README.md)" in index


def _parts(command: Any) -> list[Any]:
    """Itself, or the commands below it, at any depth."""
    below = getattr(command, "commands", {}).values()
    return [part for each in below for part in _parts(each)] or [command]


@pytest.mark.parametrize("name", [*OWN, *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT])
def test_the_reference_has_every_option_of_a_command_and_no_other(name: str) -> None:
    from typer.main import get_command

    section = _text("reference/cli.md").split(f"## `edgeai {name}`")[1].split("\n## ")[0]
    command = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    has = set().union(*(_options(part) for part in _parts(command))) - {"--help"}
    assert set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", section)) == has


@pytest.mark.parametrize("name", [*OWN, *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT])
def test_the_reference_says_how_each_command_ends(name: str) -> None:
    section = _text("reference/cli.md").split(f"## `edgeai {name}`")[1].split("\n## ")[0]
    assert re.search(r"exit status", section, re.IGNORECASE)


def test_every_module_of_the_core_is_in_the_architecture_and_its_layers_are_those_that_are_held() -> None:
    text = _text("architecture.md")
    entries = {path.stem for path in (ROOT / "edgeai").iterdir() if path.suffix == ".py" or path.is_dir()}
    modules = entries - {"__pycache__", "__init__", "__main__", "py"}
    assert [name for name in sorted(modules) if f"`edgeai.{name}`" not in text] == []
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = [
        {name for name in re.findall(r"\w+", line) if (ROOT / "edgeai" / name).exists() or _is_module(name)}
        for line in next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    ]
    drawn = re.search(r"```\n(__main__\n.*?)```", text, re.DOTALL)
    assert drawn is not None
    assert [set(re.findall(r"\w+", line)) for line in drawn[1].splitlines()] == held


def _is_module(name: str) -> bool:
    return (ROOT / "edgeai" / f"{name}.py").is_file()


def test_every_field_of_a_result_is_explained_and_the_example_is_one() -> None:
    text = _text("reference/result.md")
    schema = json.loads((ROOT / "edgeai/schemas/result-2.json").read_text())
    names = {*schema["properties"], *schema["$defs"]["finding"]["properties"]}
    assert [name for name in sorted(names) if not re.search(rf"`\.?(?:\w+\.)?{name}(?:`|\.)", text)] == []
    example = re.search(r"<!-- example -->\n```json\n(.*?)```", text, re.DOTALL)
    assert example is not None
    jsonschema.validate(json.loads(example[1]), schema)


def test_the_example_of_an_event_is_one() -> None:
    example = re.search(r"```json\n(.*?)```", _text("reference/events.md"), re.DOTALL)
    assert example is not None
    jsonschema.validate(json.loads(example[1]), json.loads((ROOT / "edgeai/schemas/event-1.json").read_text()))


def test_every_event_in_the_reference_is_in_the_source() -> None:
    kinds = re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|", _text("reference/events.md"), re.MULTILINE)
    deaths = {f"role.{cause}" for cause in ("crashed", "deadline", "memory", "silent", "interrupted", "ended")}
    assert [kind for kind in kinds if f'"{kind}"' not in SOURCE and kind not in deaths] == []


def test_the_integrators_profile_has_no_mistake(tmp_path: Path) -> None:
    profile = re.search(r"<!-- profile -->\n```toml\n(.*?)```", _text("guides/integrator.md"), re.DOTALL)
    assert profile is not None
    (tmp_path / "profile.toml").write_text(profile[1])
    assert load_config(tmp_path / "profile.toml").deployments[0].name == "guard"


@pytest.mark.parametrize("page", ["integrator", "plugin-author", "signing"])
def test_fragments_of_profiles_have_keys_that_there_are(page: str) -> None:
    fragments = re.findall(r"(?<!<!-- trust.toml -->\n)```toml\n(.*?)```", _text(f"guides/{page}.md"), re.DOTALL)
    assert fragments, "the guide no longer shows any"
    for fragment in fragments:
        DeviceConfig.model_validate({"device": {"id": "cart-1", "site": "trial"}, **tomllib.loads(fragment)})


def test_the_bounds_of_keys_in_the_signing_guide_have_no_mistake(tmp_path: Path) -> None:
    bounds = re.search(r"<!-- trust.toml -->\n```toml\n(.*?)```", _text("guides/signing.md"), re.DOTALL)
    assert bounds is not None
    (tmp_path / "trust.toml").write_text(bounds[1])
    read = read_bounds(tmp_path, ["release-2026", "clinic-2026"])
    assert [bool(bound.models) for bound in read.values()] == [True, False]


def test_alerts_and_log_events_of_the_operations_guide_exist() -> None:
    text = _text("guides/operations.md")
    metrics = re.findall(r"`(edgeai_[a-z_]+)`", _text("reference/metrics.md"))
    used = {name.removesuffix("_bucket") for name in re.findall(r"edgeai_[a-z_]+", text)}
    assert used
    assert used <= set(metrics)
    logged = text.split("| log event |")[1]
    assert [kind for kind in re.findall(r"`([a-z]+\.[a-z-]+)`", logged) if f'"{kind}"' not in SOURCE] == []


def test_the_bundles_page_has_every_refusal_and_every_bound_and_every_field() -> None:
    from edgeai.bundle.envelope import MAX_SIGNATURES, PAYLOAD_TYPE
    from edgeai.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
    from edgeai.bundle.paths import MAX_DEPTH, MAX_PATH_CHARS
    from edgeai.bundle.zip_form import LIMITS

    page = _text("reference/bundle.md")
    codes = set(re.findall(r"^\| `(bundle\.[a-z-]+)` \|", _text("reference/errors.md"), re.MULTILINE))
    assert set(re.findall(r"^\| `(bundle\.[a-z-]+)` \|", page, re.MULTILINE)) == codes - {"bundle.rejected"}
    assert [name for name in Manifest.__struct_fields__ if f"`{name}`" not in page] == []
    assert (LIMITS.max_bytes, MAX_MANIFEST_BYTES) == (2 * 1024**3 - 1, 4 * 1024**2)
    for bound in (f"{LIMITS.max_files:,}", f"| {MAX_SIGNATURES} |", f"{MAX_PATH_CHARS}, {MAX_DEPTH}", PAYLOAD_TYPE):
        assert bound in page, bound


def test_the_guide_to_guards_has_every_bound_of_the_content_and_every_check() -> None:
    from edgeai.model import abstaining, content, distance, sentry
    from edgeai.roles import requirements

    page = _text("guides/guards.md")
    bounds = [
        each for each in vars(content).values() if isinstance(each, content.Bound) and each is not content.CONSTANT
    ]
    assert len(bounds) == 9
    for bound in bounds:
        rows = re.findall(rf"^\| {re.escape(bound.name)}.*\| `{bound.code}` \|$", page, re.MULTILINE)
        assert any(re.search(rf"(?<![\d.]){bound.bound:g}(?![\d.])", row) for row in rows), bound
    for check in (content.CHECK, sentry.CHECK, distance.CHECK, abstaining.CHECK, requirements.CHECK):
        assert f"\n| `{check}` | " in page
    assert distance.NAME in page


def test_every_decision_is_in_the_index_and_has_a_number_of_its_own() -> None:
    index = _text("adr/README.md")
    files = [path.name for path in (DOCS / "adr").glob("[0-9]*.md")]
    assert [name for name in files if f"({name})" not in index] == []
    numbers = [name[:4] for name in files]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.slow
def test_the_ml_engineers_example_trains_packs_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    engines = ("keras", "ai_edge_litert", "openvino")
    require("tflite", all(find_spec(name) for name in engines), f"the example needs {', '.join(engines)}")
    text = _text("guides/ml-engineer.md")
    script = re.search(r"<!-- train.py -->\n```python\n(.*?)```", text, re.DOTALL)
    card = re.search(r"<!-- model.toml -->\n```toml\n(.*?)```", text, re.DOTALL)
    assert script is not None
    assert card is not None
    folder = tmp_path / "tiny"
    folder.mkdir()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script[1]]
    trained = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (folder / "model.toml").write_text(re.sub(r"sha256:0{64}", trained.stdout.strip(), card[1]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def printed(*words: str) -> str:
        capfd.readouterr()
        assert run(words) == 0
        return capfd.readouterr().out

    assert "dist/tiny-0.1.0.edgeai" in printed("pack", "tiny")
    inspected = json.loads(printed("inspect", "dist/tiny-0.1.0.edgeai", "--json"))
    assert inspected["manifest"]["name"] == "tiny"
