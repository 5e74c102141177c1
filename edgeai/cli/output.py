"""Standard output under ``--json``: it holds what the command says to programs, and nothing else.

A command's flag ``--json`` is ``output.option``, and what it answers goes through ``output.put``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import typer

from edgeai.process import flush_native, take_stdout


class _Standard:
    """Where ``put`` writes, and whether this process ends with the command."""

    stream: TextIO | None = None
    ends_with_command = False


def option(text: str) -> Any:
    """The flag ``--json`` with this help text, for ``Annotated``."""
    return typer.Option("--json", help=text, callback=_keep)


def _keep(context: typer.Context, value: bool) -> bool:
    """Where ``--json`` is given, keep standard output for ``put``; plugins and libraries write to standard error."""
    if value and not context.resilient_parsing and _Standard.stream is None:
        before = sys.stdout
        # A test that calls the command line in its own process may have put another stream in place of descriptor 1.
        is_real = getattr(before, "fileno", None) is not None and _descriptor(before) == 1
        _Standard.stream = take_stdout() if is_real else before
        if not is_real:
            sys.stdout = sys.stderr
        if not _Standard.ends_with_command:
            context.call_on_close(lambda: _give_back(before))
    return value


def put(text: str) -> None:
    """Write a line to standard output, which may be kept."""
    typer.echo(text, file=_Standard.stream)


def ends_with_command() -> None:
    """This process ends with its command: standard output stays kept, whatever is printed at exit."""
    _Standard.ends_with_command = True


def mute() -> None:
    """Write no more to standard output: its reader has gone."""
    stream = _Standard.stream or sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _give_back(before: TextIO) -> None:
    stream, _Standard.stream = _Standard.stream, None
    sys.stdout = before
    if stream is not None and stream is not before:
        flush_native()  # to standard error still
        os.dup2(stream.fileno(), 1)
        stream.close()


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1
