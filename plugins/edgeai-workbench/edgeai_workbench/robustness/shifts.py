"""How far other data may differ: the same images as if other hospitals had made them, and the interval of one more.

Each simulated hospital has its own grey levels, sharpness, noise and detail; positioning differs from image to image.
Strengths are normal, and spread evenly over the hospitals (a Latin hypercube: McKay, Beckman and Conover, Technometrics
1979), so that few hospitals show what many would. ADR 0048 says why these, and what they leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgeai.api import Array, Frame
from edgeai_workbench.libraries import needed
from edgeai_workbench.robustness.asking import Asked, Asker, ask
from edgeai_workbench.robustness.frames import Distorted, done, random_of
from edgeai_workbench.robustness.planes import Affine, blurred, noisy, resized, to_extent, turned
from edgeai_workbench.robustness.results import Part, ShiftedModel
from edgeai_workbench.robustness.table import end, figure_of, main_of
from edgeai_workbench.statistics import Design, Figure, interval
from edgeai_workbench.statistics.bootstrap import LEVEL

DRAWN: Final = 200
"""Resamples of each hospital's images."""
_LEVELS: Final = 6
_LEAST: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations of what differs between hospitals; of ``turn``, ``zoom`` and ``shift`` between images.

    Attributes:
        gamma, contrast: of the logarithm of gamma, and of the slope about the middle grey.
        brightness: of an offset, as a part of the range.
        sharpness: of the blur's standard deviation as a part of the shorter side; the other way it is sharpened.
        noise: of Gaussian noise's standard deviation, as a part of the range; one-sided.
        detail: of the logarithm of the factor of a coarser matrix, brought back to the extent; one-sided.
        turn, zoom, shift: degrees, logarithm of the factor, part of the extent.
    """

    gamma: float = 0.4
    contrast: float = 0.2
    brightness: float = 0.06
    sharpness: float = 0.015
    noise: float = 0.03
    detail: float = 0.3
    turn: float = 5.0
    zoom: float = 0.1
    shift: float = 0.03


SPREAD: Final = Spread()


def method_of(hospitals: int, samples: int, *, moves: bool, spread: Spread = SPREAD) -> str:
    """In one sentence, computed from what was done."""
    positioning = (
        f"; and, image by image, angle (sd {spread.turn:g} degrees), size (sd {spread.zoom:.0%}) and place "
        f"(sd {spread.shift:.0%} of the extent)"
        if moves
        else ""
    )
    return (
        f"{hospitals} simulated hospitals, each of which shifts all of the {samples} images by its own gamma (sd of "
        f"its logarithm {spread.gamma:g}), contrast (likewise {spread.contrast:g}), brightness (sd "
        f"{spread.brightness:.0%} of the range), sharpness (blurred or sharpened, sd {spread.sharpness:.1%} of the "
        f"shorter side), noise (sd {spread.noise:.0%}) and detail (a coarser matrix, sd of the logarithm "
        f"{spread.detail:g}){positioning}: the middle 95 % of {DRAWN} resamples of patients from each hospital "
        "together, and no narrower than the interval of the images as they are"
    )


def shifted_models(
    asker: Asker,
    plain: Asked,
    name: str,
    *,
    hospitals: int,
    seed: int,
    moves: bool,
    told: Sequence[Callable[[int], None]],
    spread: Spread = SPREAD,
) -> tuple[ShiftedModel, ...]:
    """The figure ``name`` of every model over all hospitals; models that do not determine it are left out."""
    drawn = _hypercube(hospitals, _LEVELS, seed)
    values: dict[str, list[Array]] = {model: [] for model in asker.models}
    points: dict[str, list[float]] = {model: [] for model in asker.models}
    refused = dict.fromkeys(asker.models, 0)
    for number, levels in enumerate(drawn):

        def change(frame: Frame, sample: str, levels: Array = levels, number: int = number) -> Distorted:
            random = random_of(seed, f"hospital {number}", sample)
            return done(frame, lambda plane: seen_there(plane, levels, random, moves=moves, spread=spread))

        asked = ask(asker, change, told=told[number])
        for model in asker.models:
            refused[model] += len(asker.samples) - len(asked.replies[model].answered)
            figure, design = figure_of(asker, asked, model, name)
            if figure is not None:
                points[model].append(figure.value())
                values[model].append(_resampled(figure, design, seed=seed + number))
    asks = hospitals * len(asker.samples)
    every = []
    for model in asker.models:
        before = main_of(asker, plain, model, name, seed=seed)
        figure, _ = figure_of(asker, plain, model, name)
        if before is not None and figure is not None and points[model]:
            shifted, worst = _together(before, points[model], np.concatenate(values[model]), figure.better)
            every.append(
                ShiftedModel(model=model, plain=before, shifted=shifted, worst=worst, withheld=refused[model] / asks)
            )
    return tuple(every)


def seen_there(
    plane: Array, levels: Array, random: np.random.Generator, *, moves: bool, spread: Spread = SPREAD
) -> tuple[Array, Affine | None]:
    """A plane as a hospital of these standard normal ``levels`` would have made it."""
    gamma, contrast, brightness, sharpness, noise, detail = levels
    affine: Affine | None = None
    if moves:
        turn, zoom, x, y = random.standard_normal(4)
        plane, affine = turned(
            plane,
            float(turn * spread.turn),
            zoom=float(np.exp(zoom * spread.zoom)),
            shift=(float(x * spread.shift), float(y * spread.shift)),
        )
    rows, columns = plane.shape[:2]
    plane = to_extent(resized(plane, float(np.exp(-abs(detail) * spread.detail)))[0], (rows, columns))
    amount = float(sharpness * spread.sharpness)
    if abs(amount) > _LEAST:
        smooth = blurred(plane, abs(amount))
        plane = smooth if amount > 0 else plane + (plane - smooth)
    plane = np.clip(plane, 0, 1) ** np.float32(np.exp(gamma * spread.gamma))
    plane = (plane - np.float32(0.5)) * np.float32(np.exp(contrast * spread.contrast)) + np.float32(0.5)
    plane = plane + np.float32(brightness * spread.brightness)
    return noisy(plane, float(abs(noise) * spread.noise), random), affine


def _hypercube(count: int, levels: int, seed: int) -> Array:
    """(count, levels) standard normal numbers, of which each level is spread evenly."""
    random = random_of(seed, "hospitals")
    places = np.stack([random.permutation(count) for _ in range(levels)], axis=1)
    normal: Array = needed("scipy.special").ndtri((places + random.random((count, levels))) / count)
    return normal


def _resampled(figure: Figure, design: Design | None, *, seed: int) -> Array:
    if design is None:
        return np.array([figure.value()])
    values = interval(figure.over, design, resamples=DRAWN, method="percentile", seed=seed).distribution
    return values[np.isfinite(values)]


def _together(plain: Part, points: Sequence[float], values: Array, better: str) -> tuple[Part, float]:
    low, high = np.percentile(values if len(values) else points, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    ends = [low if plain.low is None else min(low, plain.low), high if plain.high is None else max(high, plain.high)]
    part = Part(
        value=float(np.median(points)), low=end(ends[0]), high=end(ends[1]), method="simulated shifts", unit=plain.unit
    )
    return part, float(min(points) if better == "higher" else max(points))
