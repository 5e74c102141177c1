"""Which commands there are: the core's own, and what other distributions offer by an entry point ``edgeai.commands``.

Metadata is looked at only where the core has no command of that name, so that a cart's own ones start as they did.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import typer
from typer.main import get_command

from edgeai.api.errors import ConfigError
from edgeai.cli.help import as_written

if TYPE_CHECKING:
    from edgeai.plugins import PluginInfo

Offered: TypeAlias = "Mapping[str, tuple[PluginInfo, ...]]"
"""Command -> who offers it: one distribution, where it is to be used."""

OWN: Mapping[str, str] = MappingProxyType(
    {
        "infer": "edgeai.cli.infer",
        "inspect": "edgeai.cli.inspect",
        "run": "edgeai.cli.run",
        "status": "edgeai.cli.status",
        "selftest": "edgeai.cli.selftest",
        "history": "edgeai.cli.history",
        "trace": "edgeai.cli.trace",
        "replay": "edgeai.cli.replay",
        "accept": "edgeai.cli.accept",
        "rerun": "edgeai.cli.rerun",
        "messages": "edgeai.cli.messages",
        "spool": "edgeai.cli.spool",
        "doctor": "edgeai.cli.doctor",
        "support": "edgeai.cli.support",
        "config": "edgeai.cli.config",
        "plugins": "edgeai.cli.plugins",
        "bench": "edgeai.cli.bench",
        "keys": "edgeai.cli.keys",
        "sign": "edgeai.cli.sign",
        "verify": "edgeai.cli.verify",
        "demo": "edgeai.cli.demo",
    }
)
"""Command -> module, in the order that ``--help`` lists them."""

GROUP = "edgeai.commands"
"""Entry points of others: the command's name, and its module."""

WORKBENCH = "edgeai-workbench"
BUILD_HOST = ("train", "build", "evaluate", "compare", "pack")
"""What that distribution brings, for whoever asks for it where it is not installed."""

FLEET = "edgeai-fleet"
OPS_HOST = ("fleet",)
"""The same of the ops host."""

UPDATE = "edgeai-update"
UPDATE_CLIENT = ("update",)
"""The same of a cart's update client, which a cart without updates does without."""


def offered() -> Offered:
    """What other distributions offer, by name, our hosts' first; the core's own names are not theirs to give."""
    from edgeai.plugins import find

    by_name: dict[str, tuple[PluginInfo, ...]] = dict.fromkeys((*BUILD_HOST, *OPS_HOST, *UPDATE_CLIENT), ())
    for info in find(GROUP):
        if info.name not in OWN:
            by_name[info.name] = (*by_name.get(info.name, ()), info)
    return {name: infos for name, infos in by_name.items() if infos}


def absent(here: Offered) -> str:
    """Where the commands of the build host, the ops host and the update client are, where they are not here."""
    hosts = (
        ("build host", WORKBENCH, BUILD_HOST),
        ("ops host", FLEET, OPS_HOST),
        ("update client", UPDATE, UPDATE_CLIENT),
    )
    return "\n\n".join(filter(None, (_absent(here, *host) for host in hosts)))


def _absent(here: Offered, host: str, distribution: str, names: tuple[str, ...]) -> str:
    missing = [name for name in names if name not in here]
    if not missing:
        return ""
    *others, last = missing
    named = f"{', '.join(others)} and {last} are commands" if others else f"{last} is a command"
    return f"{named} of the {host}, which is not installed here: pip install {distribution}"


def command_of(name: str, others: Callable[[], Offered] = offered) -> Any:
    """The command of this name, ready for typer, or ``None``; one that cannot be used says why when it is called."""
    if name in OWN:
        return _made(name, OWN[name])
    try:
        return _foreign(name, others().get(name, ()))
    except ConfigError as error:
        return _refusal(name, error)


def _foreign(name: str, infos: tuple[PluginInfo, ...]) -> Any:
    """One of another distribution, or ``None``.

    Raises:
        ConfigError: ``build.workbench-missing``, ``fleet.not-installed``, ``update.not-installed``,
            ``config.command-unusable``.
    """
    if not infos:
        _refuse_absent(name)
        return None
    if len(infos) > 1:
        raise ConfigError(
            f"edgeai {name} is offered by " + " and ".join(f"{info.distribution} {info.version}" for info in infos),
            code="config.command-unusable",
            remedy="uninstall all of them but one",
        )
    (info,) = infos
    try:
        command = _made(name, info.module)
    except (Exception, SystemExit) as error:  # whatever another maker's module does, the other commands stay usable
        raise ConfigError(
            f"edgeai {name} of {info.distribution} {info.version} cannot be loaded: {type(error).__name__}: {error}",
            code="config.command-unusable",
            remedy=f"install {info.distribution} anew, with all that it requires, or uninstall it",
        ) from error
    command.rich_help_panel = f"Commands of {info.distribution}"
    return command


def _refuse_absent(name: str) -> None:
    """A command of ours that is not installed says where it is.

    Raises:
        ConfigError: ``build.workbench-missing``, ``fleet.not-installed``, ``update.not-installed``.
    """
    if name in BUILD_HOST:
        raise ConfigError(
            f"edgeai {name} is a command of the build host, which is not installed here",
            code="build.workbench-missing",
            remedy=f"pip install {WORKBENCH}, on the machine that builds models; a cart needs none of it",
        )
    if name in OPS_HOST:
        raise ConfigError(
            f"edgeai {name} is a command of the ops host, which is not installed here",
            code="fleet.not-installed",
            remedy=f"pip install {FLEET}, on the machine that publishes models; a cart needs none of it",
        )
    if name in UPDATE_CLIENT:
        raise ConfigError(
            f"edgeai {name} is a command of the update client, which is not installed here",
            code="update.not-installed",
            remedy=f"pip install {UPDATE}, on a cart that takes updates; one that does not needs none of it",
        )


def _made(name: str, module_name: str) -> Any:
    """``app`` of the module (a ``typer.Typer``), or its function ``command``, or one of the command's own name."""
    return _built(name, import_module(module_name))


@functools.cache  # typer reads every signature below it, which takes longer than most commands; each line asks twice
def _built(name: str, module: ModuleType) -> Any:
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        function = getattr(module, "command", None) or getattr(module, name)
        app.command(name)(function)
    command = get_command(app)
    command.name = name
    as_written(command)
    return command


def _refusal(name: str, error: ConfigError) -> Any:
    """A command that takes whatever is said to it, ``--help`` too, and ends with this error."""
    app = typer.Typer(add_completion=False)

    @app.command(
        name,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        rich_help_panel="Commands that cannot be used",
    )
    def refuse() -> None:
        raise error

    command = get_command(app)
    command.name, command.help = name, f"{error}."
    as_written(command)
    return command
