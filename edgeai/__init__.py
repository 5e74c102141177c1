"""edgeai: trained Keras models at work on medical imaging devices.

::

    import edgeai

    with edgeai.open_model("modality-guard-1.0.1.edgeai") as model:
        result = model.run_file("image.dcm")
    print(result.outcome, [finding.label for finding in result.findings if finding.present])

The names below are resolved when first used, so that ``import edgeai.api`` stays as cheap for a plugin
as the header promises.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeai.api.errors import EdgeaiError
    from edgeai.api.results import Finding, Outcome, Result
    from edgeai.bundle.reader import Bundle, open_bundle
    from edgeai.model import Model, open_model

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "EdgeaiError",
    "Finding",
    "Model",
    "Outcome",
    "Result",
    "__version__",
    "open_bundle",
    "open_model",
]

_HOME = {
    "Bundle": "edgeai.bundle.reader",
    "EdgeaiError": "edgeai.api.errors",
    "Finding": "edgeai.api.results",
    "Model": "edgeai.model",
    "Outcome": "edgeai.api.results",
    "Result": "edgeai.api.results",
    "open_bundle": "edgeai.bundle.reader",
    "open_model": "edgeai.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
