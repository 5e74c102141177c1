"""The root of the command line. Each command's module is imported only when that command is called."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import edgeai
from edgeai.api.errors import ConfigError, DataRejected, EdgeaiError, GateFailed
from edgeai.cli import output
from edgeai.cli.commands import BUILD_HOST, OPS_HOST, OWN, UPDATE_CLIENT, absent, command_of, offered
from edgeai.cli.plain import read_plainly

read_plainly()

_STATUS: Mapping[type[EdgeaiError], int] = MappingProxyType({ConfigError: 2, DataRejected: 2, GateFailed: 3})
"""Exit status by kind of error; 1 for the others."""


class LazyGroup(TyperGroup):
    """The commands of ``edgeai.cli.commands``, imported one by one as they are asked for."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.offered = functools.cache(offered)  # looked for once a command line, and only where it is asked

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, of those that are installed."""
        return [*OWN, *self.offered()]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with.

        Raises:
            UsageError: there is none of this name; says which may have been meant, or all that there are.
        """
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            known = list(dict.fromkeys((*self.list_commands(ctx), *BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT)))
            near = difflib.get_close_matches(name, known, n=2) or [word for word in known if word.startswith(name)]
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(known)}."
            ctx.fail(f"No such command {name!r}. {hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or ``None``."""
        return command_of(cmd_name, self.offered)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Those that are installed, and below them where our hosts' are."""
        self.epilog = absent(self.offered()) or None
        super().format_help(ctx, formatter)


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgeai {edgeai.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Trained Keras models at work on medical imaging devices."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit status; an ``EdgeaiError`` becomes one clear line, not a traceback.

    ``EDGEAI_TRACEBACK=1`` lets the traceback through.
    """
    try:
        app(list(arguments), prog_name="edgeai")
    except EdgeaiError as error:
        if os.environ.get("EDGEAI_TRACEBACK") == "1":
            raise
        from edgeai.cli.terminal import steady

        typer.echo(f"error[{error.code}]: {steady(str(error))}", err=True)
        if error.remedy:
            typer.echo(f"  what to do: {steady(error.remedy)}", err=True)
        return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 1)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BrokenPipeError:  # the reader of our output has gone; say nothing to nobody at exit either
        output.mute()
        return 1
    return 0
