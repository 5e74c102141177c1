"""What commands about a device have in common: its spool, if anything has run there yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig
    from edgeai.spool import Spool


def existing_spool(config: DeviceConfig) -> Spool:
    """The device's spool, which these commands never make.

    Raises:
        SpoolError: ``spool.absent``.
    """
    from edgeai.api.errors import SpoolError
    from edgeai.spool import Spool

    if not (config.device.data_dir / "spool" / "spool.sqlite").exists():
        raise SpoolError(
            f"nothing has run here yet: no spool in {config.device.data_dir}",
            code="spool.absent",
            remedy="start it with `edgeai run PROFILE`",
        )
    return Spool.of(config)
