"""Logs: one JSON object a line on stderr, or words for a terminal. Never patient data: UIDs, hashes, codes, counts.

On the standard library's ``logging``, because the supervisor must stay tiny (structlog costs 18 MB a process)
and because pynetdicom and paho speak it already: their warnings come out in the same form.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TextIO, cast

LINES: Final = 100
"""Lines of one kind in a window; what is more is counted, and said with the next or when the window ends."""
WINDOW_S: Final = 10.0
MAX_KINDS: Final = 512
"""Kinds that are counted at a time."""

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
        facts = " ".join(f"{key}={_shown(value)}" for key, value in getattr(record, "facts", {}).items())
        line = f"{at} {record.levelname.lower():7} {self._role:16} {_shown(record.getMessage())} {facts}".rstrip()
        return line + ("\n    " + _shown(self.formatException(record.exc_info)) if record.exc_info else "")


def _shown(value: object) -> str:
    """For a terminal: foreign text can neither begin a line of its own nor move the cursor."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value))
    return text.replace("\n", "\n    ")


@dataclass(slots=True)
class _Kind:
    """Lines of one kind in the window that began ``since``."""

    since: float
    lines: int = 0
    held_back: int = 0
    line: dict[str, object] | None = None
    """What the line that says the count is made of; nothing of a record's exception, which would keep its frames."""


class Limited(logging.StreamHandler[TextIO]):
    """Writes lines, and of one kind no more than ``LINES`` in ``WINDOW_S``: a peer in a loop must not fill the disk.

    A kind is a level, a logger, an event and its code, or for another library's lines the place in its source. The
    first of a kind is always written, and how many were held back is never lost.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it; logging's own lock is held."""
        self.say_held_back()
        name = _kind_of(record)
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind(self._clock())
            if len(self._kinds) > MAX_KINDS:
                self._write_count(self._kinds.popitem(last=False)[1])
        kind.lines += 1
        if kind.lines <= LINES:
            super().emit(record)
            return
        kind.held_back += 1
        if kind.line is None:
            facts = getattr(record, "facts", {"logger": record.name})
            kept = {key: facts[key] for key in ("code", "logger") if key in facts}
            level = {"levelno": record.levelno, "levelname": record.levelname}
            kind.line = {"name": record.name, "msg": record.msg, "args": record.args, "facts": kept, **level}
            self._wake_later()

    def say_held_back(self, *, everything: bool = False) -> None:
        """Write the counts of the windows that are over, or of all."""
        now = self._clock()
        while self._kinds:
            name, kind = next(iter(self._kinds.items()))  # the oldest window stands first
            if not everything and now - kind.since < WINDOW_S:
                return
            del self._kinds[name]
            self._write_count(kind)

    def close(self) -> None:
        """Nothing is held back for ever: the counts are written now."""
        self.acquire()
        try:
            if self._timer is not None:
                self._timer.cancel()
            self.say_held_back(everything=True)
        finally:
            self.release()
        super().close()

    def _write_count(self, kind: _Kind) -> None:
        if kind.line is not None:
            facts = {**cast("dict[str, object]", kind.line["facts"]), "held_back": kind.held_back}
            super().emit(logging.makeLogRecord({**kind.line, "facts": facts}))

    def _wake_later(self) -> None:
        """A count is written when its window ends, also when nothing else is said then."""
        if self._timer is not None and self._timer.is_alive():
            return
        self._timer = threading.Timer(WINDOW_S, self._wake)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # no more threads, or the process ends: the next line or the end says it
            self._timer = None

    def _wake(self) -> None:
        self.acquire()
        try:
            self._timer = None
            self.say_held_back()
            if any(kind.held_back for kind in self._kinds.values()):
                self._wake_later()
        finally:
            self.release()


def _kind_of(record: logging.LogRecord) -> tuple[object, ...]:
    facts = getattr(record, "facts", None)
    if facts is None:
        return (record.levelno, record.name, record.pathname, record.lineno)
    return (record.levelno, record.name, record.msg, str(facts.get("code", "")))


def configure(role: str, *, level: str = "info", form: Literal["json", "console"] = "json") -> None:
    """Send this process's logs to stderr. ``edgeai`` at ``level``, everybody else's from warnings up."""
    handler = Limited(sys.stderr)
    handler.setFormatter(_Json(role) if form == "json" else _Words(role))
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, Limited):
            before.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edgeai").setLevel(_LEVELS[level])
    # These would log data sets and peers' messages at will.
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
