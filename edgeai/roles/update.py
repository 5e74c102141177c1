"""The update role: a look at the repository from time to time, each in a process of its own that then ends.

``edgeai update PROFILE --once`` is what looks; this process only says when, so that it holds neither TUF nor a bundle
in memory for as long as the device runs, and a look that dies harms nothing. What came of it is told by events where
it changes; what was installed is told by the slots' own history.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig, Repository
from edgeai.logs import Log
from edgeai.roles.stopping import stop_by_signal
from edgeai.spool import Spool
from edgeai.windows import is_open

ROLE: Final = "update"
FIRST_WITHIN_S: Final = 600.0
"""The first look comes within so long: a ward that gets its power back does not come all at once."""
AGAIN_S: Final = 300.0
"""After a look that failed; doubles, up to the usual pause."""
HINT_LEAST_S: Final = 60.0
"""Between two looks that hints ask for: who sends many makes no more of them."""
STOP_S: Final = 5.0
SOON_S: Final = 60.0
"""After a look that waits for something to come of what it did: a rehearsal, before an order back is followed."""
LIMIT_S: Final = 6 * 3600.0
"""A look that takes longer is ended; what came of it stays, and the next goes on there."""
_ERROR: Final = re.compile(r"^error\[([a-z]+\.[a-z-]+)\]: (.*)", re.MULTILINE)
_NOT_NOW: Final = ("slots.out-of-turn", "slots.given-up", "update.busy")
"""Refusals that are none: its turn comes, or it was told of already."""
_MOST_BYTES: Final = 1 << 20
_TOLD: Final = ("outcome", "release", "digest", "code", "rollout")
_MOST_WORDS: Final = 200

log = Log("edgeai.update")


class Pauses:
    """When the next look is due.

    Args:
        every_s: usually.
        uniform: a number between two.
    """

    def __init__(self, every_s: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._every_s = every_s
        self._uniform = uniform
        self._failures = 0

    def first(self) -> float:
        """From the start on."""
        return self._uniform(0.0, min(self._every_s, FIRST_WITHIN_S))

    def after(self, *, well: bool) -> float:
        """From the end of a look on."""
        self._failures = 0 if well else self._failures + 1
        if well:
            return self._every_s * self._uniform(0.9, 1.1)
        pause: float = min(self._every_s, AGAIN_S * 2.0 ** min(self._failures - 1, 20))
        return pause * self._uniform(0.5, 1.0)


class Look:
    """One look, under way."""

    def __init__(self, command: list[str]) -> None:
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by outcomes
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.began = time.monotonic()
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err)

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End it now; what it fetched stays."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def outcomes(self) -> dict[str, Mapping[str, Any]]:
        """Deployment (empty: all of them) -> what came of it, as `edgeai update --json` says it."""
        out, err = _read(self._out), _read(self._err)
        try:
            body: dict[str, Any] = json.loads(out)
        except ValueError:
            told = _ERROR.search(err)
            code, message = (told[1], told[2]) if told else ("update.look-died", _last_line(err))
            return {"": {"outcome": "refused", "code": code, "message": message, "remedy": ""}}
        if body["refused"] is not None:
            return {"": {"outcome": "refused", **body["refused"]}}
        return {each["deployment"]: each for each in body["deployments"]}


class Updates:
    """The role's main loop."""

    def __init__(self, config: DeviceConfig, repository: Repository, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._windows = (repository.window,) if repository.window is not None else ()
        self._pauses = Pauses(repository.every_s)
        self._due = time.monotonic() + self._pauses.first()
        self._is_hinted = False
        self._hinted_at = time.monotonic() - HINT_LEAST_S
        self._look: Look | None = None
        self._told: dict[str, str] = {}
        self._last: dict[str, Any] = {}

    def run(self, stopping: threading.Event) -> None:
        """Until ``stopping`` is set."""
        beat_s = self._config.supervise.heartbeat_s
        while not stopping.is_set():
            self._spool.wait(ROLE, beat_s)
            if stopping.is_set():
                break
            self._heed()
            self._step()
            state = "looking" if self._look is not None else "ready"
            self._spool.beat(
                ROLE, "ready", looks=state, due_s=round(max(0.0, self._due - time.monotonic())), **self._last
            )
        if self._look is not None:
            self._look.end()

    def hint(self) -> None:
        """Somebody says that there is news: it is looked for soon, once a minute at most. From any thread."""
        self._is_hinted = True
        self._spool.ring(ROLE)

    def _heed(self) -> None:
        now = time.monotonic()
        if self._is_hinted and self._look is None and now >= self._hinted_at + HINT_LEAST_S:
            self._is_hinted, self._hinted_at = False, now
            self._due = min(self._due, now)

    def _step(self) -> None:
        look = self._look
        if look is None:
            if time.monotonic() >= self._due and is_open(self._windows, datetime.now().astimezone()):
                source = self._config.source
                self._look = Look([sys.executable, "-m", "edgeai", "update", str(source), "--once", "--json"])
            return
        if not look.is_over():
            if time.monotonic() - look.began < LIMIT_S:
                return
            look.end()
        self._look = None
        outcomes = look.outcomes()
        troubles = {name: each for name, each in outcomes.items() if _is_trouble(each)}
        self._due = time.monotonic() + self._pauses.after(well=not troubles)
        if any(each.get("soon") for each in outcomes.values()):
            self._due = min(self._due, time.monotonic() + SOON_S)
        codes = sorted({why["code"] for why in troubles.values()})
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._last = {"codes": codes, "looked": {name: _kept(each, at) for name, each in outcomes.items()}}
        log.info("update.looked", codes=codes, next_s=round(self._due - time.monotonic()))
        with suppress(EdgeaiError):  # a full disk: it is told after the next look
            for name in self._changed(troubles):
                self._tell_of(name, troubles.get(name))

    def _changed(self, troubles: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
        """Whose trouble is another than was told last, or has gone."""
        for name in sorted({*troubles, *self._told}):
            if troubles.get(name, {}).get("code") != self._told.get(name):
                yield name

    def _tell_of(self, name: str, why: Mapping[str, str] | None) -> None:
        if why is None:
            self._spool.event("update.recovered", "updates come again", deployment=name)
            del self._told[name]
            return
        facts = {"deployment": name, "code": why["code"], "remedy": why["remedy"]}
        self._spool.event("update.trouble", f"no update comes: {why['message']}", **facts)
        self._told[name] = why["code"]


def _is_trouble(outcome: Mapping[str, Any]) -> bool:
    return outcome["outcome"] == "refused" and outcome["code"] not in _NOT_NOW


def _kept(outcome: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Of an outcome what the fleet is told, in the retained status (``edgeai/schemas/status-2.json``)."""
    told = {name: outcome[name] for name in _TOLD if outcome.get(name)}
    return {"at": at, **told, "message": str(outcome.get("message", ""))[:_MOST_WORDS]}


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    with file:
        return file.read(_MOST_BYTES).decode("utf-8", "replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"the look died: {lines[-1][:300]}" if lines else "the look died and said nothing"


def main(config: DeviceConfig) -> int:
    """Run the role until SIGTERM."""
    if config.repository is None or config.repository.url is None or not config.repository.every_s:
        return 0
    spool = Spool.of(config)
    spool.beat(ROLE, "starting")
    stopping = stop_by_signal(spool, ROLE)
    updates = Updates(config, config.repository, spool)
    hints = None
    if config.mqtt.enabled:
        from edgeai.roles.hints import Hints  # a device without a broker does without its library

        hints = Hints(config, updates.hint)
        hints.start()
    try:
        updates.run(stopping)
    finally:
        if hints is not None:
            hints.close()
        spool.close()
    return 0
