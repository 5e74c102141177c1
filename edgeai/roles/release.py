"""The release floor, as the infer role moves it: up, with the first completed result of the bundle that it has open."""

from __future__ import annotations

from collections.abc import Callable

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.admission import admit
from edgeai.bundle.floors import Floors
from edgeai.bundle.reader import Bundle
from edgeai.bundle.releases import Numbered
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log

Event = Callable[..., None]
"""``event(kind, message, **facts)``."""

log = Log("edgeai.roles.infer")


class Release:
    """Of one deployment: what it runs now, and whether that has been noted as the floor."""

    def __init__(self, config: DeviceConfig, event: Event) -> None:
        self._config = config
        self._event = event
        self._floors = Floors.of_device(config)
        self._due: Numbered | None = None
        self._has_told = False

    def opened(self, deployment: Deployment, bundle: Bundle, *, is_on_probation: bool = False) -> None:
        """This bundle serves from now on. Where only the profile's exception lets it, that is an event.

        On probation no result raises the floor: its end does (``SlotFolder.prove``).

        Raises:
            BundleRejected: as ``admit``: the floor rose while the bundle was being opened.
        """
        number = Numbered.of(bundle.manifest, bundle.digest)
        verdict = admit(self._config, deployment, bundle.manifest, bundle.digest)
        self._due = number if verdict == "runs" and number.release and not is_on_probation else None
        if verdict == "exception" and number.digest == deployment.allow_release:
            floor = self._floors.of(number.name)
            lowest = floor.release if floor else 0
            message = f"{number} runs by the profile's exception: release {lowest} has given results here"
            self._event("release.exception", message, **_facts(number), floor=lowest)

    def completed(self, digest: str) -> None:
        """An image of a patient was run to its end by this bundle; the first time, the floor rises.

        What hinders that costs no result: it is tried again after the next.
        """
        number = self._due
        if number is None or number.digest != digest:
            return
        try:
            risen = self._floors.raise_to(number)
        except (OSError, EdgeaiError) as error:
            log.error("release.unrecorded", message=str(error))
            if not self._has_told:
                message = f"that {number} gave a result cannot be noted, so that an older one could follow: {error}"
                self._event("release.unrecorded", message, **_facts(number))
            self._has_told = True
            return
        self._due = None
        if risen is not None:
            log.info("release.raised", model=number.name, release=risen, digest=number.digest)
            message = f"{number} gave its first result: nothing before it runs here any more"
            self._event("release.raised", message, **_facts(number))


def _facts(number: Numbered) -> dict[str, object]:
    return {"model": number.name, "release": number.release, "digest": number.digest}
