"""What a command line says plainly: read as typer reads it, and without pydantic; all else is typer's to judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
import typer.core
from typer.testing import CliRunner

coercion = pytest.importorskip("typer._coercion")

import edgeai.cli.main  # noqa: E402, F401  (it makes typer ask edgeai.cli.plain first)

PLAIN = typer.core.build_runtime_param  # type: ignore[attr-defined]
app = typer.Typer()


def _upper(text: str) -> str:
    return text.upper()


@app.command()
def command(
    word: str,
    paths: Annotated[list[Path] | None, typer.Argument()] = None,
    number: Annotated[int, typer.Option(min=1, max=256)] = 7,
    clamped: Annotated[int, typer.Option(min=0, max=9, clamp=True)] = 0,
    free: int | None = None,
    share: float = 0.5,
    flag: bool = False,
    either: bool | None = None,
    words: Annotated[list[str] | None, typer.Option()] = None,
    there: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    folder: Annotated[Path | None, typer.Option(exists=True, file_okay=False, resolve_path=True)] = None,
    text: Annotated[str, typer.Option(parser=_upper)] = "x",
    pair: Annotated[tuple[int, str] | None, typer.Option()] = None,
) -> None:
    given = (word, paths, number, clamped, free, share, flag, either, words, there, folder, text, pair)
    typer.echo(repr(given))


SAID = [
    "a",
    "a b c/d",
    "a ''",
    "'' b",
    "a --number 256",
    "a --number 257",
    "a --number 0",
    "a --number -3",
    "a --number 1_0",
    "a --number ' 12 '",
    "a --number 012",
    "a --number 12.0",
    "a --number 1e1",
    "a --number x",
    "a --number ''",
    "a --number ٣",
    "a --free -3",
    "a --free 99999999999999999999999999",
    "a --free +4",
    "a --clamped 40",
    "a --share 0.25",
    "a --share x",
    "a --flag --either",
    "a --no-either",
    "a --words a --words '' --words 3",
    "a --there {file}",
    "a --there {folder}",
    "a --there {folder}/none",
    "a --there ''",
    "a --folder {folder}/../{name}",
    "a --folder {file}",
    "a --folder ''",
    "a --text abc",
    "a --pair 3 x",
    "a --pair x x",
    "--number 3",
    "a --nonesuch 3",
]


@pytest.mark.parametrize("words", SAID)
def test_values_and_refusals_are_those_of_typer(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLAIN is not coercion.build_runtime_param, "typer is asked first, and nobody noticed"
    (tmp_path / "file").touch()
    arguments = words.format(file=tmp_path / "file", folder=tmp_path, name=tmp_path.name)
    ours = CliRunner().invoke(app, arguments)
    monkeypatch.setattr(typer.core, "build_runtime_param", coercion.build_runtime_param)
    theirs = CliRunner().invoke(app, arguments)
    assert (ours.exit_code, ours.output) == (theirs.exit_code, theirs.output)


@pytest.mark.parametrize("words", ["verify nonesuch.edgeai", "inspect nonesuch.edgeai", "keys public nonesuch.key"])
def test_no_command_pays_for_pydantic_to_read_its_own_words(words: str) -> None:
    code = "import sys; from edgeai.cli.main import run; run(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, timeout=600)
    assert "nonesuch" in done.stderr
    assert "pydantic" not in done.stdout.split()


@pytest.mark.parametrize("words", ["status nonesuch.toml", "plugins new Nonesuch"])
def test_an_error_is_said_without_numpy(words: str) -> None:
    code = "import sys; from edgeai.cli.main import run; run(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, timeout=600)
    assert "what to do" in done.stderr
    assert "numpy" not in done.stdout.split()
