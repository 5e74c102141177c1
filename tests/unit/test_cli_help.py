"""``--help`` says what was written: no word is taken for markup, and a paragraph is one, however wide the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgeai.cli import main
from edgeai.cli.commands import BUILD_HOST, OWN

WIDE = "4000"


def commands() -> Iterator[tuple[str, ...]]:
    for name in (*OWN, *BUILD_HOST):
        command = main.LazyGroup().get_command(None, name)
        below = getattr(command, "commands", {})
        yield (name,)
        yield from ((name, each) for each in below)


def command_of(words: tuple[str, ...]) -> Any:
    command = main.LazyGroup().get_command(None, words[0])
    return command.commands[words[1]] if len(words) > 1 else command


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_says_every_word_that_was_written(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", WIDE)
    assert main.run([*words, "--help"]) == 0
    lines = [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]
    command = command_of(words)
    written = [getattr(param, "help", None) or "" for param in command.params]
    for text in written:
        plain = " ".join(text.replace("\\[", "[").split())
        assert any(plain in line for line in lines), plain
    for paragraph in command.help.replace("\\[", "[").split("\n\n"):
        if not paragraph.startswith(" "):
            assert any(" ".join(paragraph.split()) in line for line in lines), paragraph


def test_a_word_in_brackets_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["train", "--help"]) == 0
    assert "[dataset]" in capsys.readouterr().out
