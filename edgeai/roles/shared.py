"""What an infer role shares with the others of the profile: nothing, where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeai.api.errors import SpoolError
from edgeai.logs import Log
from edgeai.model.recipe import Recipe
from edgeai.model.sharing import Sharing
from edgeai.spool.planes import Planes

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.model import Model
    from edgeai.model.sharing import SharedFile
    from edgeai.spool import Job, Spool

_PATIENCE: Final = 0.1
"""Part of a job's deadline that it may wait for what others are at: the rest is enough to do it all itself."""

log = Log("edgeai.roles.shared")


class Shared:
    """What one deployment shares.

    Args:
        config: the profile.
        deployment: of this role.
        spool: of the device.
    """

    def __init__(self, config: DeviceConfig, deployment: Deployment, spool: Spool) -> None:
        self._spool = spool
        self._deployment = deployment
        self._others = [other.name for other in config.deployments if other.name != deployment.name]
        self._max_bytes = config.spool.max_shared_bytes
        self._reserve_bytes = config.spool.reserve_bytes
        self._sharing: Sharing | None = None

    def opened(self, model: Model) -> None:
        """Tell the others what this model's pixels go through."""
        self._sharing = None
        if not self._others or not self._max_bytes:
            return
        manifest = model.bundle.manifest
        recipe = Recipe.of(model.decode_options(()), manifest.transforms, model.pipeline.plugins, manifest.guard)
        try:
            planes = Planes(
                self._spool.planes,
                max_bytes=self._max_bytes,
                sharers=len(self._others) + 1,
                reserve_bytes=self._reserve_bytes,
            )
            planes.tidy(self._spool.is_needed)
        except (OSError, SpoolError) as error:
            log.warning("planes.trouble", message=str(error))  # each on its own, then
            return
        self._sharing = Sharing(planes, self._deployment.name, recipe, self._others)

    def of(self, job: Job) -> SharedFile | None:
        """What others have made of this job's image, or want of it.

        Nothing where something is known against the job: what this process does of it then, it does itself, so that
        what kills it is known for certain.
        """
        if self._sharing is None or not job.goes_along:
            return None
        try:
            sharers = self._spool.sharers(job)
        except SpoolError:
            return None
        if not sharers and not (self._spool.planes / job.path.name).is_dir():
            return None
        return self._sharing.of(job.path.name, sharers, self._deployment.deadline_s * _PATIENCE)
