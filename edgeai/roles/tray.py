"""Images that a shadow may look at once what runs has answered them: a few at a time, below ``spool/shadow/``.

``infer`` puts a link to the image there, and the answer beside it; the shadow takes one away and drops it. There is
room for ``MOST``, of as many series: a full tray, or a shadow that does not come, costs ``infer`` nothing.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

MOST: Final = 2
"""Images that wait."""

FOLDER: Final = "shadow"
_TAKEN: Final = "taken.dcm"
_SERIES_KNOWN: Final = 1000


class Tray:
    """Of one deployment.

    Args:
        spool: folder of the spool: what is linked has to lie in the same file system.
        deployment: whose images.
    """

    def __init__(self, spool: Path, deployment: str) -> None:
        self._folder = spool / FOLDER / deployment
        self._series: deque[str] = deque(maxlen=_SERIES_KNOWN)

    # --- infer's side -----------------------------------------------------------------------------

    def lend(self, image: Path, name: str, series: str) -> bool:
        """Put an image there that is about to be answered; whether there was room, and none of its series came before.

        Images of one series are much alike, so that counting each would say more than was seen.
        """
        if series in self._series:
            return False
        with suppress(OSError):  # a full disk: another image will do
            self._folder.mkdir(parents=True, exist_ok=True)
            waiting = [path for path in self._folder.glob("*.dcm") if path.name != _TAKEN]
            if len(waiting) >= MOST:
                return False
            os.link(image, self._folder / f"{name}.dcm")
            return True
        return False

    def answer(self, name: str, series: str, result: Mapping[str, Any]) -> None:
        """What was answered to it, now that the answer is kept: from now on it may be taken."""
        with suppress(OSError):
            partial = self._folder / f".{name}.partial"
            partial.write_text(json.dumps(result), encoding="utf-8")
            partial.replace(self._folder / f"{name}.json")
            self._series.append(series)

    def clear(self) -> None:
        """Nothing is lent any more, and what was is dropped; what the shadow is at, it drops itself."""
        self._series.clear()
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if path.name != _TAKEN:
                with suppress(OSError):
                    path.unlink()

    # --- the shadow's side ------------------------------------------------------------------------

    def take(self) -> tuple[Path, dict[str, Any]] | None:
        """An image and what runs answered to it; ``None`` where none waits. What was taken before is dropped.

        It is never given twice: one at which the shadow is killed is lost to it.
        """
        self.drop()
        for told in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError):
                body: dict[str, Any] = json.loads(told.read_bytes())
                image = told.with_suffix(".dcm")
                image.rename(self._folder / _TAKEN)
                told.unlink()
                return self._folder / _TAKEN, body
            with suppress(OSError):  # half of a pair: a kill came between
                told.unlink(missing_ok=True)
                told.with_suffix(".dcm").unlink(missing_ok=True)
        return None

    def drop(self) -> None:
        """What was taken is done with."""
        with suppress(OSError):
            (self._folder / _TAKEN).unlink(missing_ok=True)
