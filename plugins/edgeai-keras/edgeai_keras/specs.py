"""What this plugin registers: compressors as frozen specs. Importing this imports no Keras."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from edgeai.api import Compressed, CompressionFailed, CompressorSpec, CompressRequest, OptionSpec
from edgeai_keras.channels import SPEC as PRUNE_CHANNELS
from edgeai_keras.tuning import WHICH, options

PRUNE_OPTIONS = (
    OptionSpec(name="sparsity", help="share of the kernels' weights that are zero in the end, 0 to 0.999", default=0.5),
    OptionSpec(name="initial", help="share that is zero at the start of the schedule", default=0.0),
    OptionSpec(name="begin", help="where the schedule begins, as a part of all steps of fine-tuning", default=0.0),
    OptionSpec(
        name="end", help="where it reaches sparsity, as a part of all steps; the rest only recovers", default=0.5
    ),
    OptionSpec(
        name="scope",
        help="global: the smallest weights of all layers together; layer: the same share of every layer",
        default="global",
        choices=("global", "layer"),
    ),
    OptionSpec(name="most", help="with global, the largest share of one layer, so that none goes dead", default=0.98),
    *WHICH,
    *options(epochs=10, patience=3, learning_rate=1e-3),
)
DISTIL_OPTIONS = (
    OptionSpec(
        name="student",
        help="a network of edgeai_keras.architectures to train from nothing; empty: the model of the step before",
        default="",
    ),
    OptionSpec(name="student_options", help="a table: that network's options, as { size = 224 }", default={}),
    OptionSpec(name="temperature", help="softens both answers before they are compared; 1 leaves them", default=3.0),
    OptionSpec(
        name="alpha", help="weight of the teacher's answers, 0 to 1; the labels have the rest; 0: it is not asked",
        default=0.5,
    ),
    OptionSpec(
        name="preserve_sparsity", help="weights that are zero stay zero (not for a new student)", default=True,
        choices=(True, False),
    ),
    *options(epochs=30, patience=5, learning_rate=1e-3),
)  # fmt: skip
CLUSTER_OPTIONS = (
    OptionSpec(name="clusters", help="most distinct values in a kernel, zero among them; 2 or more", default=16),
    OptionSpec(
        name="init",
        help="where the search for them starts: kmeans++, or linear (evenly over their range)",
        default="kmeans++",
        choices=("kmeans++", "linear"),
    ),
    OptionSpec(name="preserve_sparsity", help="weights that are zero stay zero", default=True, choices=(True, False)),
    *WHICH,
    *options(epochs=5, patience=2, learning_rate=1e-4),
)
VIEWS_OPTIONS = (
    OptionSpec(
        name="mirror",
        help="horizontal: left and right; vertical: upside down; both: each, and the two together, which is four views",
        default="horizontal",
        choices=("horizontal", "vertical", "both"),
    ),
)
WATCH_OPTIONS = (
    OptionSpec(
        name="layers", help="names of layers; empty: every activation of the network that has a plane", default=()
    ),
)


def _lazily(module: str) -> Callable[[CompressRequest], Compressed]:
    """``module.compress``, imported when it is first called."""

    def compress(request: CompressRequest) -> Compressed:
        try:
            function = import_module(f"edgeai_keras.{module}").compress
        except ModuleNotFoundError as error:
            raise CompressionFailed(
                f"compressing needs {error.name}, which is not installed",
                code="compress.engine-missing",
                remedy="pip install edgeai-keras",
            ) from error
        compressed: Compressed = function(request)
        return compressed

    return compress


COMPRESSORS = (
    PRUNE_CHANNELS,
    CompressorSpec(
        name="prune-magnitude",
        compress=_lazily("magnitude"),
        options=PRUNE_OPTIONS,
        help="Sets the smallest weights to zero by a cubic schedule while the others are fine-tuned. The file"
        " compresses better; engines run no faster for it unless they know sparse kernels.",
    ),
    CompressorSpec(
        name="distil",
        compress=_lazily("distil"),
        options=DISTIL_OPTIONS,
        help="Trains a smaller network, or the model of the step before, on the labels and the parent's own answers.",
    ),
    CompressorSpec(
        name="cluster",
        compress=_lazily("cluster"),
        options=CLUSTER_OPTIONS,
        help="Lets each kernel's weights share a few values and fine-tunes those. The file compresses better.",
    ),
    CompressorSpec(
        name="views",
        compress=_lazily("views"),
        options=VIEWS_OPTIONS,
        help="The model answers with the mean of what it says of a picture and of the picture mirrored: better where"
        " one view goes wrong, and as many times slower as there are views.",
    ),
    CompressorSpec(
        name="watch",
        compress=_lazily("watch"),
        options=WATCH_OPTIONS,
        help="Gives the model one more output, features of what it sees, which guard.distance of a card is about."
        " Nothing is trained, and no other output changes.",
    ),
)
