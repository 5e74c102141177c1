"""Under ``--json`` standard output is JSON and nothing else, whatever plugins and native libraries print."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from edgeai.cli.commands import BUILD_HOST, OPS_HOST, OWN, UPDATE_CLIENT
from edgeai.cli.main import app, run

ROOT = Path(__file__).parents[2]

# Prints as plugins and libraries do: by Python, to the descriptor, and by C, whose buffer is written when it likes.
NOISE = """
import atexit, ctypes, os, sys
def noise():
    print("noise by Python")
    os.write(1, b"noise to the descriptor\\n")
    ctypes.CDLL(None).puts(b"noise by C")
def when_kept():
    from edgeai.cli import output
    kept = output._keep
    def keep(context, value):
        answer = kept(context, value)
        noise()
        return answer
    output._keep = keep
    put = output.put
    def noisy_put(text):
        noise()
        put(text)
        noise()
    output.put = noisy_put
atexit.register(noise)
"""


def edgeai(folder: Path, *arguments: str, noise: str = "", **more) -> subprocess.CompletedProcess[str]:
    if noise:
        (folder / "sitecustomize.py").write_text(NOISE + noise)
    path = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    return subprocess.run(
        [sys.executable, "-m", "edgeai", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **more},
        capture_output=True,
        text=True,
        timeout=600,
    )


def flags_of_json() -> list[tuple[str, ...]]:
    """Every command with a flag ``--json``, out of the tree itself."""
    root = get_command(app)
    names = []
    for name in (*OWN, *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT):
        command = root.get_command(None, name)
        for path, leaf in {
            (name,): command,
            **{(name, n): c for n, c in getattr(command, "commands", {}).items()},
        }.items():
            if any("--json" in option.opts and option.is_flag for option in leaf.params):
                names.append(path)
    return names


def test_every_flag_of_json_keeps_standard_output():
    commands = flags_of_json()
    assert len(commands) >= 12
    root = get_command(app)
    for first, *rest in commands:
        leaf = root.get_command(None, first)
        for name in rest:
            leaf = leaf.commands[name]
        [option] = [option for option in leaf.params if "--json" in option.opts]
        assert option.callback is not None, f"edgeai {first} {' '.join(rest)} --json is not output.option"


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for package in (
            "edgeai/cli",
            "plugins/edgeai-workbench/edgeai_workbench/commands",
            "plugins/edgeai-fleet/edgeai_fleet/commands",
            "plugins/edgeai-update/edgeai_update/commands",
        )
        for path in (ROOT / package).glob("*.py")
    ),
    ids=lambda path: path.stem,
)
def test_what_programs_read_goes_through_the_kept_output(path):
    text = path.read_text()
    if "output.option(" not in text:
        return
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("typer.echo", "print"):
            assert "json.dumps" not in ast.unparse(call), f"{path.name}:{call.lineno}"
    assert "output.put(" in text


@pytest.mark.slow
def test_output_is_json_whatever_prints(tmp_path):
    done = edgeai(tmp_path, "plugins", "list", "--json", noise="when_kept()")
    assert done.returncode == 0, done.stderr
    assert {row["name"] for row in json.loads(done.stdout)} >= {"classify", "segment"}
    for kind in ("by Python", "to the descriptor", "by C"):
        assert f"noise {kind}" in done.stderr


@pytest.mark.slow
def test_what_a_plugin_prints_when_it_is_asked_stays_out(tmp_path):
    from edgeai.testing.distributions import write_fake_backend

    prelude = "import ctypes, os\nprint('noise')\nos.write(1, b'noise\\n')\nctypes.CDLL(None).puts(b'noise')"
    write_fake_backend(tmp_path, name="acme", prelude=prelude)
    for command in (("doctor", "--json"), ("plugins", "list", "--json")):
        done = edgeai(tmp_path, *command)
        assert "acme" in json.dumps(json.loads(done.stdout)), command
        assert "noise" not in done.stdout


@pytest.mark.slow
def test_without_json_words_go_where_they_went(tmp_path):
    done = edgeai(tmp_path, "plugins", "list")
    assert "classify" in done.stdout


@pytest.mark.slow
def test_standard_output_is_given_back_in_this_process(capfd):
    assert run(["plugins", "list", "--json"]) == 0
    json.loads(capfd.readouterr().out)
    print("afterwards", flush=True)
    os.write(1, b"to the descriptor\n")
    assert capfd.readouterr().out.splitlines() == ["afterwards", "to the descriptor"]


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_the_command_quietly(tmp_path):
    path = os.pathsep.join(p for p in sys.path if p)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "plugins", "list", "--json"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "meant"),
    [("docter", "doctor"), ("plugin", "plugins"), ("stat", "status"), ("inspekt", "inspect"), ("verfy", "verify")],
)
def test_an_unknown_command_is_met_with_the_nearest(tmp_path, typed, meant):
    done = edgeai(tmp_path, typed, COLUMNS="200")
    assert done.returncode == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'" in done.stderr


def test_one_that_is_near_to_none_is_met_with_all_of_them(tmp_path):
    done = edgeai(tmp_path, "zzzzzz", COLUMNS="400")
    assert done.returncode == 2
    assert "Did you mean" not in done.stderr
    assert "infer, inspect, run" in done.stderr


def test_a_sub_command_too(tmp_path):
    assert "Did you mean 'check'" in edgeai(tmp_path, "plugins", "chek", COLUMNS="200").stderr
