"""A float ``.tflite`` to integers, by litert-quantizer (LiteRT's own, the kept successor of ai-edge-quantizer).

Chosen over ``TFLiteConverter``'s quantiser on measurement (README): as accurate, as fast to run, deterministic, some
ten times faster, so that a search of layers is affordable; TensorFlow's ends the process at a recurrent layer, and its
16x8 was wrong on a MobileNet.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from edgeai.api import Array
from edgeai_tflite.biases import mend

SIGNATURE: Final = "serving_default"
_CONTROL_FLOW: Final = ("WHILE", "IF", "CALL_ONCE", "CALL")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the main graph.

    Attributes:
        kind: as TensorFlow Lite names it, ``CONV_2D``.
        scope: names of what it gives, by which the quantiser's recipes find it.
        output: name of its first output tensor.
        gives: the output of the model that it gives; empty for most. Such an operation's scope names no layer.
        idle: whether it has an output that nobody reads.
    """

    kind: str
    scope: str
    output: str
    gives: str
    idle: bool


class FloatModel:
    """A converted model in float32: its operations, their ranges, and quantised copies of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._ranges: dict[str, Any] = {}

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Of the main graph, in the order they run."""
        return operations_of(self.content)

    @property
    def control_flow(self) -> tuple[str, ...]:
        """Scopes of loops and branches: what happens inside has no ranges that could be measured."""
        return tuple(one.scope for one in self.operations if one.kind in _CONTROL_FLOW)

    def calibrate(self, samples: Iterable[Mapping[str, Array]], *, activation_bits: int) -> None:
        """Take the least and greatest value of every tensor over all samples; one sample is held at a time."""
        from litert_quantizer import calibrator
        from litert_quantizer.utils import qsv_utils, tfl_interpreter_utils

        recipe = _static(activation_bits)
        with _quiet():
            # Not the default moving average: that forgets, and depends on the order; 3 times the error on a CNN.
            calibrating = calibrator.Calibrator(self.content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            for number, sample in enumerate(samples):
                try:
                    calibrating.calibrate({SIGNATURE: [dict(sample)]}, recipe)
                except ValueError:
                    if number:
                        raise
                    # XNNPACK keeps no value of an output that nobody reads (a split in an unrolled GRU); the
                    # calibrator asks for every tensor, and offers no other way to do without XNNPACK.
                    calibrating._tfl_interpreter = tfl_interpreter_utils.create_tfl_interpreter(
                        self.content, use_xnnpack=False, num_threads=1, preserve_all_tensors=True
                    )
                    calibrating.calibrate({SIGNATURE: [dict(sample)]}, recipe)
        self._ranges = calibrating.get_model_qsvs()

    def dynamic(self, keep: Collection[str] = ()) -> bytes:
        """Weights in int8 per channel; LiteRT quantises activations as they come. ``keep``: scopes left in float."""
        recipe = _recipe_manager()
        names = _names()
        recipe.add_dynamic_config(".*", names.ALL_SUPPORTED, 8)
        # LiteRT has no fast hybrid kernel for it: 3 times slower than leaving it in float, on a MobileNet.
        recipe.add_quantization_config(".*", names.DEPTHWISE_CONV_2D, algorithm_key=_float())
        return self._quantised(recipe, keep)

    def static(self, activation_bits: int, keep: Collection[str] = (), only: Collection[str] | None = None) -> bytes:
        """Weights in int8 per channel, activations in 8 or 16 bits; inputs and outputs stay in float32.

        Args:
            activation_bits: 8 or 16.
            keep: scopes of operations left in float.
            only: scopes of the only operations that are quantised; ``None``: all.
        """
        # LiteRT fails to open a model with an integer operation of which an output is not read (measured: a split).
        idle = [one.scope for one in self.operations if one.idle]
        return mend(self._quantised(_static(activation_bits, only), {*keep, *idle}), self.content)

    def _quantised(self, recipe: Any, keep: Collection[str]) -> bytes:
        from litert_quantizer import quantizer

        for scope in sorted(keep):
            recipe.add_quantization_config(_exactly(scope), _names().ALL_SUPPORTED, algorithm_key=_float())
        with _quiet():
            work = quantizer.Quantizer(bytearray(self.content), recipe.get_quantization_recipe())
            ranges = self._ranges if work.need_calibration else None
            made = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model
        return bytes(made or b"")


def operations_of(content: bytes) -> tuple[Operation, ...]:
    """The operations of a model's main graph, in the order they run."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    read = {int(index) for one in graph.operators for index in one.inputs} | {int(index) for index in graph.outputs}
    signature = model.signatureDefs[0].outputs if model.signatureDefs else []
    given = {int(one.tensorIndex): one.name.decode() for one in signature}
    operations = []
    for operator in graph.operators:
        names = [graph.tensors[index].name.decode() for index in operator.outputs if index >= 0]
        scope = "".join(f"{name};" for name in names)
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        outputs = {int(index) for index in operator.outputs}
        gives = next((given[index] for index in outputs if index in given), "")
        operations.append(Operation(kind, scope, names[0] if names else "", gives, not outputs <= read))
    return tuple(operations)


def in_float(content: bytes) -> tuple[str, ...]:
    """Scopes of the operations of a quantised model that still compute in float, its borders apart."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    return tuple(
        one.scope
        for one, operator in zip(operations_of(content), graph.operators, strict=True)
        if one.kind not in ("QUANTIZE", "DEQUANTIZE")
        and any(graph.tensors[index].type == schema.TensorType.FLOAT32 for index in operator.outputs)
    )


def _static(activation_bits: int, only: Collection[str] | None = None) -> Any:
    recipe, names = _recipe_manager(), _names()
    for pattern in [".*"] if only is None else [_exactly(scope) for scope in sorted(only)]:
        recipe.add_static_config(pattern, names.ALL_SUPPORTED, activation_bits, 8)
    for border in (names.INPUT, names.OUTPUT):
        recipe.add_quantization_config(".*", border, algorithm_key=_float())
    return recipe


def _exactly(scope: str) -> str:
    return f"^{re.escape(scope)}$"


def _recipe_manager() -> Any:
    from litert_quantizer import recipe_manager

    return recipe_manager.RecipeManager()


def _names() -> Any:
    from litert_quantizer import qtyping

    return qtyping.TFLOperationName


def _float() -> Any:
    from litert_quantizer import algorithm_manager

    return algorithm_manager.AlgorithmName.NO_QUANTIZE


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars, which it draws whatever it is told, and its warning to itself."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
