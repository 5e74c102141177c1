"""The root of the command line. Each command's module is imported only when that command is called.

A module of the table gives ``app`` (a ``typer.Typer`` of sub-commands), ``command`` (a function), or a
function that has the command's own name.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import edgeai
from edgeai.api.errors import ConfigError, DataRejected, EdgeaiError, GateFailed
from edgeai.cli import output
from edgeai.cli.help import as_written
from edgeai.cli.plain import read_plainly

read_plainly()

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "infer": "edgeai.cli.infer",
        "inspect": "edgeai.cli.inspect",
        "run": "edgeai.cli.run",
        "status": "edgeai.cli.status",
        "selftest": "edgeai.cli.selftest",
        "rerun": "edgeai.cli.rerun",
        "messages": "edgeai.cli.messages",
        "spool": "edgeai.cli.spool",
        "doctor": "edgeai.cli.doctor",
        "support": "edgeai.cli.support",
        "config": "edgeai.cli.config",
        "plugins": "edgeai.cli.plugins",
        "train": "edgeai.cli.train",
        "build": "edgeai.cli.build",
        "evaluate": "edgeai.cli.evaluate",
        "compare": "edgeai.cli.compare",
        "bench": "edgeai.cli.bench",
        "pack": "edgeai.cli.pack",
        "keys": "edgeai.cli.keys",
        "sign": "edgeai.cli.sign",
        "verify": "edgeai.cli.verify",
        "demo": "edgeai.cli.demo",
    }
)
"""Command -> module, in the order that ``--help`` lists them."""


_STATUS: Mapping[type[EdgeaiError], int] = MappingProxyType({ConfigError: 2, DataRejected: 2, GateFailed: 3})
"""Exit status by kind of error; 1 for the others."""


class LazyGroup(TyperGroup):
    """Commands out of ``COMMANDS``, imported one by one as they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, of those that are installed."""
        return [name for name, module in COMMANDS.items() if find_spec(module) is not None]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with.

        Raises:
            UsageError: there is none of this name; says which may have been meant, or all that there are.
        """
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(name, known, n=2) or [word for word in known if word.startswith(name)]
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(known)}."
            ctx.fail(f"No such command {name!r}. {hint}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or ``None``."""
        module_name = COMMANDS.get(cmd_name)
        if module_name is None or find_spec(module_name) is None:
            return None
        module = import_module(module_name)
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False)
            function = getattr(module, "command", None) or getattr(module, cmd_name)
            app.command(cmd_name)(function)
        command = get_command(app)
        command.name = cmd_name
        as_written(command)
        return command


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
        typer.echo(f"error[{error.code}]: {error}", err=True)
        if error.remedy:
            typer.echo(f"  what to do: {error.remedy}", err=True)
        return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 1)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BrokenPipeError:  # the reader of our output has gone; say nothing to nobody at exit either
        output.mute()
        return 1
    return 0
