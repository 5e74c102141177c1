"""The ``keras`` plugin of edgeai, for the build host: compressors, and the Keras parent as a backend.

Importing this module imports no Keras; each callable does when it is called.
"""

from __future__ import annotations

from edgeai.api import BackendSpec, CompressorSpec, ModelFiles, hookimpl, late
from edgeai_keras.specs import COMPRESSORS

EDGEAI_API = (1, 4)

BACKEND = BackendSpec(
    name="keras",
    artifact_format="keras",
    probe=late("edgeai_keras.backend:probe"),
    open=late("edgeai_keras.backend.opening:open_session"),
    engine=late("edgeai_keras.backend:describe"),
    explain=late("edgeai_keras.backend:explain"),
    describe=late("edgeai_keras.backend.opening:describe_tensors"),
    outline=late("edgeai_keras.backend.outlining:outline_of"),
    help="The .keras file itself on TensorFlow, for comparing artifacts with it on the build host.",
    files=ModelFiles(
        called="a .keras file",
        suffix=".keras",
        made_from=dict.fromkeys(
            (".h5", ".hdf5"), "first make it one of Keras 3: python -m edgeai_keras.importing {name} {stem}.keras"
        ),
    ),
    install="pip install edgeai-keras",
    libraries=("keras", "tensorflow"),
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``keras`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_compressors() -> tuple[CompressorSpec, ...]:
    """``prune-channels``, ``prune-magnitude``, ``distil``, ``cluster``, ``views`` and ``watch``."""
    return COMPRESSORS
