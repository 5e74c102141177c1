"""Settings of the core's sinks: a profile's own tables were held to their rules, and those in ``[sinks]`` were not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeai.api.errors import ConfigError
from edgeai.api.options import Options

if TYPE_CHECKING:
    from edgeai.config import Table


def check_settings(table: type[Table], settings: Options, what: str) -> None:
    """Hold the settings to the table that the profile has for them.

    Args:
        table: ``edgeai.config.Mqtt`` or ``Jsonl``.
        settings: as the sink got them.
        what: the sink, in the message.

    Raises:
        ConfigError: ``config.options``.
    """
    try:
        table.model_validate(dict(settings))
    except ValueError as error:
        # The library of the tables has all mistakes of them apart; it is not this module's to know.
        listed: list[dict[str, Any]] = getattr(error, "errors", list)()
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in listed) or str(error)
        raise ConfigError(
            f"settings of {what} make no sense: {wrong}",
            code="config.options",
            remedy="firmware-configs/README.md has each with its bounds",
        ) from error


__all__ = ["check_settings"]
