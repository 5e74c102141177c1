"""What a profile says of the repository: where it is, and how it is reached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.api.errors import ConfigError
from edgeai_update.sources import FolderSource, Source
from edgeai_update.web import Manners, WebSource

if TYPE_CHECKING:
    from ssl import SSLContext

    from edgeai.config import DeviceConfig, Repository, Tls


def root_of(config: DeviceConfig) -> Path:
    """The repository's root metadata that the device was given.

    Raises:
        ConfigError: ``update.not-configured``.
    """
    return _repository(config).root


def source_of(config: DeviceConfig, folder: Path | None = None) -> Source:
    """A folder, or the repository's server.

    Raises:
        ConfigError: ``update.not-configured``, ``update.tls``, ``update.proxy``.
        UpdateError: ``update.missing``: there is no repository in the folder.
    """
    if folder is not None:
        return FolderSource(folder)
    repository = _repository(config)
    if repository.url is None:
        raise ConfigError(
            "the profile names no server",
            code="update.not-configured",
            remedy="write url = under [repository], or name a folder with --from",
        )
    manners = Manners(timeout_s=repository.timeout_s, max_bytes_per_s=repository.max_bytes_per_s)
    context = _context(repository.tls) if repository.tls is not None else None
    return WebSource(repository.url, manners=manners, proxy=repository.proxy, context=context)


def _repository(config: DeviceConfig) -> Repository:
    if config.repository is None:
        raise ConfigError(
            "the profile names no repository of models",
            code="update.not-configured",
            remedy="write a table [repository] with url, and put the repository's root beside the trusted keys",
        )
    return config.repository


def _context(tls: Tls) -> SSLContext:
    import ssl

    from edgeai.tls import cause_of_files

    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca is not None else None)
        if tls.certificate is not None and tls.key is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:
        cause = cause_of_files(error, ca=tls.ca, certificate=tls.certificate, key=tls.key)
        raise ConfigError(
            f"repository.tls cannot be used: {cause.text}", code="update.tls", remedy=cause.remedy
        ) from error
    return context
