"""The ``keras`` plugin of edgeai, for the build host: compressors, and the Keras parent as a backend.

Importing this module imports no Keras; each callable does when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeai.api import BackendSpec, CompressorSpec, Described, Device, OpenRequest, Session, hookimpl
from edgeai_keras.specs import COMPRESSORS

EDGEAI_API = (1, 1)


def _probe() -> Sequence[Device]:
    from edgeai_keras.backend import probe

    return probe()


def _open(request: OpenRequest) -> Session:
    from edgeai_keras.backend.opening import open_session

    return open_session(request)


def _engine() -> str:
    from edgeai_keras.backend import describe

    return describe()


def _explain() -> str:
    from edgeai_keras.backend import explain

    return explain()


def _describe(artifact: Path) -> Described:
    from edgeai_keras.backend.opening import describe_tensors

    return describe_tensors(artifact)


def _outline(artifact: Path) -> Described | None:
    from edgeai_keras.backend.outlining import outline_of

    return outline_of(artifact)


BACKEND = BackendSpec(
    name="keras",
    artifact_format="keras",
    probe=_probe,
    open=_open,
    engine=_engine,
    explain=_explain,
    describe=_describe,
    outline=_outline,
    help="The .keras file itself on TensorFlow, for comparing artifacts with it on the build host.",
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``keras`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_compressors() -> tuple[CompressorSpec, ...]:
    """``prune-channels``, ``prune-magnitude``, ``distil`` and ``cluster``."""
    return COMPRESSORS
