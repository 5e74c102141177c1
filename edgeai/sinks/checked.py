"""Settings of the core's sinks are those of the tables that a profile has for them, which are said once."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args, get_origin

from edgeai.api.errors import ConfigError
from edgeai.api.options import Options, OptionSpec
from edgeai.config import Table

__all__ = ["checked_settings", "settings_of"]

_T = TypeVar("_T", bound=Table)


def settings_of(table: type[Table]) -> tuple[OptionSpec, ...]:
    """What a table may say, as a plugin's spec lists it."""
    return tuple(
        OptionSpec(
            name=name,
            help=field.description or "",
            default=None if field.is_required() else field.default,
            required=field.is_required(),
            choices=get_args(field.annotation) if get_origin(field.annotation) is Literal else (),
        )
        for name, field in table.model_fields.items()
    )


def checked_settings(table: type[_T], settings: Options, what: str) -> _T:
    """The settings as the table that the profile has for them: a profile's own were held to it, those in ``[sinks]``
    were not.

    Args:
        table: ``edgeai.config.Mqtt`` or ``Jsonl``.
        settings: as the sink got them.
        what: the sink, in the message.

    Raises:
        ConfigError: ``config.options``.
    """
    try:
        return table.model_validate(dict(settings))
    except ValueError as error:
        # The library of the tables has all mistakes of them apart; it is not this module's to know.
        listed: list[dict[str, Any]] = getattr(error, "errors", list)()
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in listed) or str(error)
        raise ConfigError(
            f"settings of {what} make no sense: {wrong}",
            code="config.options",
            remedy="firmware-configs/README.md has each with its bounds",
        ) from error
