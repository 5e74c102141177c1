"""What commands about a device have in common: its spool, if anything has run there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig
    from edgeai.spool import Spool


def existing_spool(config: DeviceConfig) -> Spool:
    """The device's spool, which these commands neither make nor bring forward.

    Raises:
        SpoolError: ``spool.absent``; ``spool.unreadable`` when it is another user's; ``spool.schema`` when an older
            edgeai wrote it.
    """
    from edgeai.api.errors import SpoolError
    from edgeai.spool import Spool, check_access, is_legacy

    check_access(config.device.data_dir)
    database = config.device.data_dir / "spool" / "spool.sqlite"
    if database.exists() and is_legacy(database):
        raise SpoolError(
            f"edgeai 0.1 wrote the spool in {config.device.data_dir}, and looking at it changes nothing",
            code="spool.schema",
            remedy="start this version (`edgeai run PROFILE`): it brings the spool forward; or use the older one",
        )
    if not database.exists():
        raise SpoolError(
            f"nothing has run here yet: no spool in {config.device.data_dir}",
            code="spool.absent",
            remedy="start it with `edgeai run PROFILE`",
        )
    return Spool.of(config)
