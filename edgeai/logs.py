"""Logs: one JSON object a line on stderr, or words for a terminal. Never patient data: UIDs, hashes, codes, counts.

On the standard library's ``logging``, because the supervisor must stay tiny (structlog costs 18 MB a process)
and because pynetdicom and paho speak it already: their warnings come out in the same form.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Log:
    """Says what happened: ``log.info("job.finished", job=7, outcome="completed")``.

    The event is a stable ``<area>.<what>``; the facts are JSON values.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **facts: object) -> None:
        """For a developer."""
        self._say(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        """As it should be."""
        self._say(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Not as it should be, and dealt with."""
        self._say(logging.WARNING, event, facts)

    def error(self, event: str, *, trace: bool = False, **facts: object) -> None:
        """Somebody should look. ``trace`` adds the traceback of the exception at hand."""
        self._say(logging.ERROR, event, facts, trace=trace)

    def _say(self, level: int, event: str, facts: dict[str, object], *, trace: bool = False) -> None:
        self._logger.log(level, event, exc_info=trace, extra={"facts": facts})


class _Json(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "role": self._role,
                "event": record.getMessage(),
                **getattr(record, "facts", {"logger": record.name}),
                **({"trace": self.formatException(record.exc_info)} if record.exc_info else {}),
            },
            default=str,
        )


class _Words(_Json):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        facts = " ".join(f"{key}={value}" for key, value in getattr(record, "facts", {}).items())
        line = f"{at} {record.levelname.lower():7} {self._role:16} {record.getMessage()} {facts}".rstrip()
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def configure(role: str, *, level: str = "info", form: Literal["json", "console"] = "json") -> None:
    """Send this process's logs to stderr. ``edgeai`` at ``level``, everybody else's from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(role) if form == "json" else _Words(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edgeai").setLevel(_LEVELS[level])
    # These would log data sets and peers' messages at will.
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
