"""OpenVINO models to int8 by NNCF, and where that loses."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from edgeai.api import Array, ConversionFailed, ConvertRequest, Infer, Options, Tensors
from edgeai_keras.calibration import Samples
from edgeai_keras.model_file import Source
from edgeai_keras.scopes import Scopes, layer_names, whole_number
from edgeai_openvino.engine import without
from edgeai_openvino.naming import WITH_WEIGHTS, Names, compiled_in_float32, kind_of, name_of, names_of, tapped
from edgeai_openvino.sound import is_sound, suspects

OPTIONS: Final = (
    "preset",
    "ranges",
    "overflow_fix",
    "model_type",
    "fast_bias_correction",
    "keep_float",
    "max_float_layers",
)
_LOOPS = ("TensorIterator", "Loop", "If", "LSTMSequence", "GRUSequence", "RNNSequence")
_MEASURED = 8
"""Samples that errors of layers are measured on."""
_MOST = 8
"""Operations that go back to float at most, where the recipe says nothing."""
_HALVED = "all"
HALF = "weights have half the range of int8: sums cannot overflow, on a processor without VNNI either"
FULL = "weights have the whole range of int8 (overflow_fix = {}): without VNNI sums may overflow"
_JUDGED = 32
"""Samples whose outputs rank the layers, where some must be kept in float."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """What came of it."""

    model: Any
    notes: tuple[str, ...] = ()
    layers: Mapping[str, float] = field(default_factory=dict)


def load_nncf() -> Any:
    """Import ``nncf`` without its telemetry: nothing of a build host leaves it.

    Raises:
        ConversionFailed: ``convert.engine-missing``.
    """
    os.environ["NNCF_CI"] = "1"  # its own switch, for where openvino_telemetry is imported already
    try:
        with without("openvino_telemetry"), _quiet():
            nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise ConversionFailed(
            f"int8 needs nncf: {error}",
            code="convert.engine-missing",
            remedy="pip install 'edgeai-openvino[build]'",
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def quantise(ov: Any, model: Any, request: ConvertRequest, source: Source, samples: Samples) -> Quantised:
    """The model in int8, weights per channel, between float32 borders; ``model`` is left as it is.

    Raises:
        ConversionFailed: an option, ``convert.quantisation-drop`` or ``convert.arithmetic``.
        Exception: whatever NNCF raises, of many kinds.
    """
    kept = layer_names(request.options, "keep_float")
    most = whole_number(request.options, "max_float_layers", _MOST)
    Scopes(source).check(kept, "keep_float")
    nncf = load_nncf()
    settings = _settings(nncf, request.options)
    some = samples.first(_MEASURED)
    names = names_of(ov, model, source, request, some[0])
    settings["ignored_scope"] = _ignored(nncf, names, kept)
    settings["subset_size"] = len(samples)
    data = nncf.Dataset(samples)
    judged = request.score is not None and request.max_drop is not None
    shown = samples.first(_JUDGED) if judged else []

    def calibrated() -> Any:
        with _quiet():
            if judged and most:
                return _controlled(ov, nncf, model, data, request, shown, settings)
            return nncf.quantize(model.clone(), data, **settings)

    request.progress("calibrating")
    made = calibrated()
    for more in suspects(model):
        if is_sound(ov, made, some):
            break
        request.progress("calibrating again: OpenVINO's int8 arithmetic is wrong for layers in a row")
        settings["ignored_scope"] = _ignored(nncf, names, kept, more)
        made = calibrated()
    else:
        if not is_sound(ov, made, some):
            raise _unsound(request)
    in_float = [name for name in _in_float(made, names) if name not in kept]
    if judged:
        _hold(ov, made, model, request, in_float)
    if not any(kind_of(node) == "FakeQuantize" for node in made.get_ordered_ops()):
        raise _nothing_left(request, (*kept, *in_float))
    request.progress("measuring the error of each layer")
    measured = errors(ov, made, model, names, some)
    notes = (samples.note, _range_note(request.options), *_notes(made, names, (*kept, *in_float)))
    return Quantised(made, notes, measured)


def _range_note(options: Options) -> str:
    fix = options.get("overflow_fix", _HALVED)
    return HALF if fix == _HALVED else FULL.format(fix)


def _notes(made: Any, names: Names, in_float: Sequence[str]) -> tuple[str, ...]:
    notes = (f"kept in float: {', '.join(in_float)}",) if in_float else ()
    loops = sorted({names.of(name_of(node)) for node in made.get_ordered_ops() if kind_of(node) in _LOOPS})
    return (*notes, f"in float, since they run as loops: {', '.join(loops)}") if loops else notes


def _settings(nncf: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """NNCF's parameters, of the recipe's options."""
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    preset = nncf.QuantizationPreset
    # Not NNCF's usual mean of the samples' extremes: that cuts off what the brightest image needs. The error of a
    # small X-ray classifier fell from 0.13 of its outputs' spread to 0.008, of another from 0.09 to 0.03.
    ranges = {"min-max": RangeEstimatorParametersSet.MINMAX, "mean": None}
    # Not NNCF's usual first layer alone: nobody knows here what processors the carts have, and one without VNNI adds
    # pairs of products in 16 bits, which hold any two only of weights of half the range.
    overflow = {
        _HALVED: OverflowFix.ENABLE,
        "first-layer": OverflowFix.FIRST_LAYER,
        "none": OverflowFix.DISABLE,
    }
    return {
        "preset": _chosen(options, "preset", {"performance": preset.PERFORMANCE, "mixed": preset.MIXED}),
        "model_type": _chosen(options, "model_type", {"": None, "transformer": nncf.ModelType.TRANSFORMER}),
        "fast_bias_correction": _chosen(options, "fast_bias_correction", {True: True, False: False}),
        "advanced_parameters": AdvancedQuantizationParameters(
            overflow_fix=_chosen(options, "overflow_fix", overflow),
            **(
                {"activations_range_estimator_params": estimators}
                if (estimators := _chosen(options, "ranges", ranges))
                else {}
            ),
        ),
    }


def _chosen(options: Mapping[str, Any], name: str, choices: Mapping[Any, Any]) -> Any:
    """What an option means; the first choice where it is not given."""
    usual = next(iter(choices))
    value = options.get(name, usual)
    if not isinstance(value, type(usual)) or value not in choices:
        known = ", ".join(map(repr, choices))
        raise ConversionFailed(f"{name} = {value!r}", code="convert.options", remedy=f"use one of {known}")
    return choices[value]


def _ignored(nncf: Any, names: Names, kept: Sequence[str], more: Sequence[str] = ()) -> Any:
    """NNCF's scope of what stays in float; ``None`` for nothing."""
    for layer in kept:
        if not names.operations([layer]):
            raise ConversionFailed(
                f"keep_float: no operation of the OpenVINO model comes from layer {layer!r} alone",
                code="convert.layer-unknown",
                remedy=f"use one of {', '.join(dict.fromkeys(names.layers.values()))}",
            )
    operations = [*names.operations(kept), *more]
    return nncf.IgnoredScope(names=operations, validate=False) if operations else None


def _controlled(
    ov: Any, nncf: Any, model: Any, data: Any, request: ConvertRequest, shown: Sequence[Tensors], settings: Options
) -> Any:
    """NNCF's accuracy-aware mode: operations go back to float, the one that helps the outputs most first."""
    from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters

    assert request.score is not None
    score = request.score
    own = _outputs(compiled_in_float32(ov, model), shown)

    def judge(compiled: Any, items: Iterable[int]) -> tuple[float, list[float]]:
        """The score, and how near each item is; of a part of the items, by which NNCF ranks, nearness alone.

        Left to itself NNCF 3.4 ranks by outputs the wrong way round: what helps least goes back to float first.
        """
        places = list(items)
        answers = _outputs(compiled, [shown[place] for place in places])
        nearness = [-_distance(own[place], one) for place, one in zip(places, answers, strict=True)]
        whole = len(places) == len(shown)
        return score(_as_infer(compiled, request)) if whole else float(np.mean(nearness)), nearness

    usual = {name: value for name, value in settings.items() if name != "advanced_parameters"}
    return nncf.quantize_with_accuracy_control(
        model.clone(),
        calibration_dataset=data,
        validation_dataset=nncf.Dataset(range(len(shown))),
        validation_fn=judge,
        max_drop=request.max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        advanced_accuracy_restorer_parameters=AdvancedAccuracyRestorerParameters(
            max_num_iterations=whole_number(request.options, "max_float_layers", _MOST),
            ranking_subset_size=max(1, len(shown) // 2),
            num_ranking_workers=1,
        ),
        advanced_quantization_parameters=settings["advanced_parameters"],
        **usual,
    )


def _outputs(compiled: Any, samples: Sequence[Tensors]) -> list[list[Array]]:
    return [[np.array(value, dtype=np.float64) for value in compiled(dict(one)).values()] for one in samples]


def _distance(wanted: Sequence[Array], given: Sequence[Array]) -> float:
    """Mean square error as a part of the mean square, over all outputs."""
    pairs = zip(wanted, given, strict=True)
    return float(np.mean([np.mean((b - a) ** 2) / max(float(np.mean(a**2)), 1e-12) for a, b in pairs]))


def _hold(ov: Any, made: Any, model: Any, request: ConvertRequest, in_float: Sequence[str]) -> None:
    """Refuse a model whose score falls too far, in the arithmetic that the backend will use."""
    assert request.score is not None
    assert request.max_drop is not None
    parent, child = (request.score(_as_infer(compiled_in_float32(ov, one), request)) for one in (model, made))
    if parent - child > request.max_drop:
        raise ConversionFailed(
            f"{request.model.name}: in {request.precision} its score falls from {parent:.4g} by {parent - child:.4g}, "
            f"{request.max_drop:.4g} is allowed; in float already: {', '.join(in_float) or 'none'}",
            code="convert.quantisation-drop",
            remedy="raise max_float_layers, set fast_bias_correction = false, calibrate on more samples, or use fp16",
        )


def _unsound(request: ConvertRequest) -> ConversionFailed:
    return ConversionFailed(
        f"{request.model.name}: OpenVINO's int8 arithmetic gives other numbers here than the quantised model says",
        code="convert.arithmetic",
        remedy="leave overflow_fix at all; use fp16, or int8 on another engine; or keep in float what it happens to "
        "(keep_float)",
    )


def _nothing_left(request: ConvertRequest, in_float: Sequence[str]) -> ConversionFailed:
    return ConversionFailed(
        f"{request.model.name}: nothing of it is left to be int8; in float: {', '.join(in_float) or 'all'}",
        code="convert.quantisation-drop",
        remedy="use fp16; or calibrate on more samples, or allow a greater drop",
    )


def _in_float(made: Any, names: Names) -> list[str]:
    """Layers whose weights are not in int8, loops apart."""
    layers = []
    for node in made.get_ordered_ops():
        if kind_of(node) in WITH_WEIGHTS:
            weight = node.input_value(1).get_node()
            while kind_of(weight) not in ("Constant", "Parameter") and weight.get_input_size():
                weight = weight.input_value(0).get_node()
            if kind_of(weight) == "Constant" and weight.get_element_type().get_type_name() not in ("i8", "u8"):
                layers.append(names.of(name_of(node)))
    return list(dict.fromkeys(layers))


def errors(ov: Any, made: Any, model: Any, names: Names, samples: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Layer -> how far its output is from that in float: root mean square, as a part of its standard deviation.

    What the layers before it lost is in it: read it from the first layer on.
    """
    there = {name_of(node) for node in made.get_ordered_ops()}
    ends = {layer: name for layer, name in names.ends.items() if name in there}
    wanted, got = (tapped(ov, one, list(ends.values()), samples) for one in (model, made))
    by_layer = {}
    for layer, name in ends.items():
        own, other = np.stack(wanted[name]), np.stack(got[name])
        by_layer[layer] = round(float(np.sqrt(np.mean((other - own) ** 2)) / max(float(own.std()), 1e-6)), 6)
    return by_layer


def _as_infer(compiled: Any, request: ConvertRequest) -> Infer:
    names = [spec.name for spec in request.outputs]

    def infer(inputs: Tensors) -> Tensors:
        answer = compiled(dict(inputs))
        return {name: np.array(answer[name]) for name in names}

    return infer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's progress bars and warnings of the libraries that it imports."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
