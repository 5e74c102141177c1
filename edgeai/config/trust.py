"""``[trust]`` of a profile: whose signatures count here, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeai.config.base import FilePath, Table


class Trust(Table):
    """Whose signatures a bundle must bear. They are checked whenever a bundle is opened."""

    keys: FilePath = Field(
        Path("trust"),
        description="folder of public keys (`*.pub`, `*.pem`; `trust.toml` binds them), or one such file",
        validate_default=True,
    )
    threshold: int = Field(1, ge=1, le=64, description="so many different keys of these must have signed")
    unsigned: Literal["refuse", "accept"] = Field(
        "refuse", description="accept: a bundle runs without these signatures too; for trials, not for patients"
    )
    approvers: FilePath | None = Field(
        None,
        description="folder of public keys, or one such file; one of them must have signed a release that changes what "
        "the one before it does not let a later release change; none of them may lie in `keys` too. Without: no such "
        "release is installed",
    )
    acceptors: FilePath | None = Field(
        None,
        description="folder of public keys, or one such file; one of them must have signed a report of `edgeai accept` "
        "for it to count",
    )
