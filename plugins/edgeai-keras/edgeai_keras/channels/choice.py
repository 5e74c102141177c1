"""Which channels go, so that a model costs no more than a target."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeai.api import CompressionFailed
from edgeai_keras.channels.counting import Sizes
from edgeai_keras.channels.groups import Group

_FINENESS = 1024
"""So many shares are tried between none and all; finer than any rounding of channels."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many channels a group may come to.

    Attributes:
        least: never fewer.
        multiple: a multiple of this, or all that there are. Engines compute so many side by side (XNNPACK and oneDNN
            16 with AVX-512, 8 with NEON): 12 channels take as long as 16.
    """

    least: int = 4
    multiple: int = 4

    def counts(self, channels: int) -> list[int]:
        """What a group of so many may come to, most first."""
        least = max(1, self.least)
        steps = range(channels - channels % self.multiple, 0, -self.multiple)
        return list(dict.fromkeys([channels, *(count for count in steps if count >= least)]))


@dataclass(frozen=True, slots=True)
class Target:
    """``of`` is ``macs`` or ``parameters``; ``most`` how many may be left."""

    of: str
    most: float

    def cost(self, sizes: Sizes) -> int:
        """What counts."""
        return sizes.macs if self.of == "macs" else sizes.parameters

    def saved(self, sizes: Sizes, classes: Iterable[int], *, back: bool = False) -> int:
        """What removing these would save of it; or giving them back."""
        return sizes.saved(classes, back=back)[0 if self.of == "macs" else 1]


class Choosing:
    """The channels of every group, least important first, and how many of them go.

    How many is a *step* a group: a place in ``Limits.counts``.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        importance: Mapping[int, float],
        sizes: Sizes,
        target: Target,
        limits: Limits,
    ) -> None:
        self._orders = [sorted(group.classes, key=lambda one: (importance[one], one)) for group in groups]
        self._counts = [limits.counts(len(order)) for order in self._orders]
        self._importance, self._sizes, self._target, self._limits = importance, sizes, target, limits

    def globally(self) -> set[int]:
        """Take, again and again, from the group where it hurts least for what it saves.

        A group's price is one over the share of its importance that is left: each further channel is dearer than the
        one before, so steeply that of two layers that multiply (the cost of a convolution is the product of its
        widths) both are narrowed alike. What is saved is counted with all that has gone already.

        Raises:
            CompressionFailed: ``compress.target-unreachable``.
        """
        sizes, target = self._sizes.copy(), self._target
        weights = [sizes.touched(order) for order in self._orders]
        neighbours = [[two for two, other in enumerate(weights) if other & mine] for mine in weights]
        steps, offers = [0] * len(self._orders), [0] * len(self._orders)
        heap: list[tuple[float, int, int]] = []

        def offer(place: int) -> None:
            offers[place] += 1
            part = self._part(place, steps[place])
            if part:
                saved = target.saved(sizes, part)
                price = self._loss(place, steps[place]) / saved if saved else math.inf
                heapq.heappush(heap, (price, place, offers[place]))

        for place in range(len(steps)):
            offer(place)
        while target.cost(sizes) > target.most:
            while heap and offers[heap[0][1]] != heap[0][2]:
                heapq.heappop(heap)  # offered again since
            if not heap:
                raise unreachable(target, target.cost(sizes), self._limits)
            _, place, _ = heapq.heappop(heap)
            sizes.remove(self._part(place, steps[place]))
            steps[place] += 1
            for other in neighbours[place]:
                offer(other)
        return self._removed(self._given_back(steps))

    def by_layer(self) -> set[int]:
        """Take the same share of every group's channels: the smallest that meets the target.

        Raises:
            CompressionFailed: ``compress.target-unreachable``.
        """
        least = self._left([len(row) - 1 for row in self._counts])
        if least > self._target.most:
            raise unreachable(self._target, least, self._limits)
        shares = [1.0 - part / _FINENESS for part in range(_FINENESS + 1)]
        low, high = 0, _FINENESS
        while low < high:
            middle = (low + high) // 2
            if self._left(self._nearest(shares[middle])) <= self._target.most:
                high = middle
            else:
                low = middle + 1
        return self._removed(self._given_back(self._nearest(shares[low])))

    def _part(self, place: int, step: int) -> list[int]:
        """What the next step takes from a group."""
        order, counts = self._orders[place], self._counts[place]
        return [] if step + 1 == len(counts) else order[len(order) - counts[step] : len(order) - counts[step + 1]]

    def _loss(self, place: int, step: int) -> float:
        order, counts = self._orders[place], self._counts[place]
        before, after = (
            sum(self._importance[one] for one in order[len(order) - count :]) for count in counts[step : step + 2]
        )
        whole = sum(self._importance[one] for one in order)
        if after <= 0.0:
            return math.inf if before > 0.0 else 0.0
        return whole / after - whole / before

    def _removed(self, steps: Sequence[int]) -> set[int]:
        rows = zip(self._orders, self._counts, steps, strict=True)
        return {one for order, counts, step in rows for one in order[: len(order) - counts[step]]}

    def _left(self, steps: Sequence[int]) -> int:
        return self._target.cost(self._sizes) - self._target.saved(self._sizes, self._removed(steps))

    def _nearest(self, share: float) -> list[int]:
        """For each group, the allowed count nearest to this share of its channels."""
        return [min(range(len(row)), key=lambda step: abs(row[step] - share * row[0])) for row in self._counts]

    def _given_back(self, steps: list[int]) -> list[int]:
        """Rounding took more than was asked for: steps back for those that lost most, while there is room."""
        steps, sizes = list(steps), self._sizes.copy()
        sizes.remove(self._removed(steps))
        given = True
        while given:
            given = False
            left = [row[step] / row[0] for row, step in zip(self._counts, steps, strict=True)]
            for place in sorted((one for one in range(len(steps)) if steps[one]), key=left.__getitem__):
                part = self._part(place, steps[place] - 1)
                if self._target.cost(sizes) - self._target.saved(sizes, part, back=True) <= self._target.most:
                    sizes.remove(part, back=True)
                    steps[place] -= 1
                    given = True
        return steps


def unreachable(target: Target, least: float, limits: Limits) -> CompressionFailed:
    """Nothing is left to take."""
    return CompressionFailed(
        f"the model cannot come to {target.most:.4g} {target.of}: {least:.4g} are left when all that may go is gone",
        code="compress.target-unreachable",
        remedy=f"ask for less, lower min_channels ({limits.least}) or round_to ({limits.multiple}),"
        " or name fewer layers in keep",
    )
