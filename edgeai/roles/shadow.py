"""A shadow, a process of its own: ``python -m edgeai.roles shadow`` (see ``rehearsals.Shadows``).

What was rehearsed is shown images that what runs has answered, out of a tray, and both answers are compared; nothing
of it is published. It takes of the processor what nobody else wants, and of that no more than the profile says. The
figures stand in the slots after each image, so that a kill costs one image; it ends when they say enough
(``edgeai.slots.shown``), or when it is not wanted any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from edgeai.api.results import Result
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.model import Model
from edgeai.model.agreement import difference
from edgeai.roles import candidate
from edgeai.roles.tray import Tray
from edgeai.selection import FASTEST
from edgeai.slots import SlotFolder, SlotsError
from edgeai.slots.shown import judge
from edgeai.spool import Spool, Station

PATIENCE: Final = 20.0
"""So many times as long as in ``infer`` may anything take: it gets of the processor what is left."""

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 5.0
"""Between two attempts to write where a full disk, say, does not let it."""

log = Log("edgeai.roles.shadow")


def main(config: DeviceConfig, deployment: str, digest: str, verdict: str) -> int:
    """Compare until it is enough; as ``candidate.hold``."""

    def shadow(own: Deployment, folder: SlotFolder, spool: Spool) -> None:
        _until_enough(config, own, folder, digest, spool)

    return candidate.hold(config, deployment, digest, verdict, "shadow", shadow)


def _until_enough(config: DeviceConfig, deployment: Deployment, folder: SlotFolder, digest: str, spool: Spool) -> None:
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    is_measured = FASTEST in deployment.backends  # with so many threads as were fastest
    meant = deployment if is_measured else deployment.model_copy(update={"threads": 1})
    tray = Tray(spool.folder, deployment.name)
    try:
        with candidate.reported(spool, f"shadow:{deployment.name}") as station:
            opened = candidate.opened(config, meant, folder, digest, spool, station, stage="good", patience=PATIENCE)
            with closing(opened) as model:
                candidate.step_far_back()
                shown = _Shown(model, deployment, folder, digest, station, tray)
                shown.until_enough(config.updates.shadow_share)
    finally:
        tray.drop()


class _Shown:
    """One model beside what runs."""

    def __init__(
        self, model: Model, deployment: Deployment, folder: SlotFolder, digest: str, station: Station, tray: Tray
    ) -> None:
        self._model = model
        self._deployment = deployment
        self._folder = folder
        self._digest = digest
        self._station = station
        self._tray = tray

    def until_enough(self, share: float) -> None:
        """Compare images, and rest after each so long that its part of the time is no more than this."""
        while self._goes_on():
            began, used = time.monotonic(), time.process_time()
            pair = self._tray.take()
            if pair is None:
                self._rest(_LOOK_S)
                continue
            self._compare(*pair)
            used_s, spent_s = time.process_time() - used, time.monotonic() - began
            self._rest(used_s / share - spent_s)

    def _goes_on(self) -> bool:
        """Whether it is still wanted; what its figures say is written first."""
        shadow = self._folder.read().in_shadow
        if shadow is None or shadow.digest != self._digest:
            return False
        end, code, why = judge(shadow)
        if end == "good":
            self._write(lambda: self._folder.shown(why, self._digest))
        elif end == "bad":
            self._write(lambda: self._folder.fail(code, why, self._digest))
        return end == "goes on"

    def _compare(self, image: Path, answered: dict[str, Any]) -> None:
        before = Result.from_dict(answered)
        with self._station.step("job", deadline_s=self._deployment.deadline_s * PATIENCE):
            result = self._model.run_file(image, deployment=self._deployment.name, overlap=False)
            differs = difference(before, result, self._model.task)
        if image.exists():  # else somebody cleared the tray under it
            self._write(lambda: self._folder.compared(self._digest, differs))
            log.info("shadow.compared", of=self._deployment.name, differs=differs)
        self._tray.drop()

    def _write(self, move: Callable[[], object]) -> None:
        """As long as it takes: a full disk must cost no figure."""
        while True:
            try:
                move()
                return
            except SlotsError as error:
                if error.code != "slots.unwritable":
                    raise
                log.warning("shadow.unwritten", code=error.code, message=str(error))
                self._rest(_AGAIN_S)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._station.beat("ready")
        while (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, _LOOK_S))
            self._station.beat("ready")
