"""The model that stands before the model: the same decoded frame through transforms of its own, and its answer admits.

A frame is prepared where the model's is, and asked about on the thread of the engine, one at a time. Where its engine
fails, that is an error of the run like one of the model's own: it never lets a frame pass.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgeai.api.endings import NoStatement
from edgeai.api.results import GuardFigure
from edgeai.api.specs import FrameContext
from edgeai.model.golden import GoldenAnswer, blank, rehearse
from edgeai.model.loading import Offers
from edgeai.model.opening import Opening, build_pipeline, build_task
from edgeai.model.steps import Breadcrumb, RiskyStep
from edgeai.model.streams import check_outputs
from edgeai.model.threads import SingleFrames
from edgeai.model.withheld import Withheld
from edgeai.selection import Wish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeai.api.imaging import Frame
    from edgeai.api.instances import InstanceRef
    from edgeai.api.results import EngineRef, Finding, Findings
    from edgeai.api.specs import Task
    from edgeai.api.tensors import Tensors, TensorSpec
    from edgeai.bundle.reader import Bundle
    from edgeai.bundle.uses import GuardModel
    from edgeai.model.loading import Loader
    from edgeai.model.looks import Ready
    from edgeai.model.opening import EngineUse, OpenEngine
    from edgeai.pipeline import Pipeline
    from edgeai.plugins import Registry

CHECK: Final = "guard-model"
NOT_ADMITTED: Final = "guard.not-admitted"
_REMEDY: Final = "look at what is sent, and whether it is for this model; if it is, tell whoever made the model"


class Sentry:
    """Open on an engine. One thread at a time may ask it; any may have it prepare a frame.

    Args:
        bundle: what ``Bundle.guard`` gives.
        use: what the manifest says of it.
        opened: its engine.
        pipeline: its transforms.
        task: what makes findings of its outputs.
        breadcrumb: entered around its rehearsal.

    Attributes:
        engine: what computes it here.
        run_step: its engine's own step, laid on the engine's plugin.
    """

    def __init__(
        self,
        bundle: Bundle,
        use: GuardModel,
        opened: OpenEngine,
        pipeline: Pipeline,
        task: Task,
        *,
        breadcrumb: Breadcrumb,
    ) -> None:
        self.engine: EngineRef = opened.engine
        self.run_step = RiskyStep("run", opened.provider)
        self._bundle = bundle
        self._use = use
        self._session = opened.session
        self._pipeline = pipeline
        self._task = task
        self._breadcrumb = breadcrumb
        self._outputs = bundle.manifest.output_specs()

    @property
    def input(self) -> TensorSpec:
        """What it takes."""
        return self._pipeline.input

    def prepare(self, frame: Frame) -> Ready:
        """Its tensor of a decoded frame, and the frame as it sees it. Raises as ``Pipeline.prepare``."""
        return self._pipeline.prepare(frame)

    def infer(self, inputs: Tensors) -> Tensors:
        """One inference, its outputs held to what the manifest declares.

        Raises:
            BackendError: the engine failed.
            TensorMismatch: outputs that are not those declared, or not finite.
        """
        outputs = self._session.run(inputs)
        check_outputs(self._outputs, outputs, what="the guard's output")
        return outputs

    def settle(self, inputs: Tensors, outputs: Tensors) -> None:
        """After an inference that nothing else ran beside: it may tell on how many threads the next runs."""
        if isinstance(self._session, SingleFrames):
            self._session.settle(inputs, outputs)

    def judged(self, outputs: Tensors, seen: Frame, instance: InstanceRef) -> GuardFigure:
        """The figure that admits a frame: the highest score of what is let through.

        Raises:
            TaskFailed: outputs that say nothing.
            Withheld: ``guard.not-admitted``, with the figure.
        """
        scores: dict[str, float] = {}
        with suppress(NoStatement):  # of a frame of which it says nothing, it does not say what would let it pass
            scores = _scores(self._task.interpret(outputs, FrameContext(frame=seen, instance=instance)))
        label = max(self._use.admit, key=lambda each: scores.get(each, 0.0))
        least, score = self._use.min_score, scores.get(label, 0.0)
        figure = GuardFigure(
            check=CHECK, name=f"score of {label}", value=round(score, 5), threshold=least, withheld=not score >= least
        )
        if not figure.withheld:
            return figure
        likeliest = max(scores, key=lambda each: scores[each], default="")
        rather = f", and {likeliest} {scores[likeliest]:.3g}" if likeliest not in ("", label) else ""
        raise Withheld(
            f"the image is not shown to be {' or '.join(self._use.admit)}, which the model is for: "
            f"{figure.name} {score:.3g}, at least {least:g}{rather}",
            code=NOT_ADMITTED,
            figures=(figure,),
            remedy=_REMEDY,
        )

    def ask(self, ready: Ready, instance: InstanceRef) -> GuardFigure:
        """All of it at once, for who has no run: as ``infer`` and ``judged``."""
        return self.judged(self.infer({self.input.name: ready[0]}), ready[1], instance)

    def rehearse(self) -> tuple[GoldenAnswer, ...]:
        """Run its golden cases; where it has none, a blank plane. Raises as ``Model.rehearse``."""
        with self._breadcrumb(self.run_step):
            if not self._bundle.manifest.golden:
                self.infer(blank(self.input))
            answers = rehearse(self._bundle, self.engine.artifact, self.infer)
        return tuple(replace(answer, case=f"guard, {answer.case}") for answer in answers)

    def close(self) -> None:
        """Free its engine. Twice is fine."""
        self._session.close()


def open_sentry(
    bundle: Bundle,
    wishes: Sequence[Wish],
    *,
    registry: Registry,
    loader: Loader | None,
    excluded: Mapping[str, str],
    use: EngineUse,
    breadcrumb: Breadcrumb,
) -> Sentry | None:
    """The model that stands before a bundle's model; ``None`` where none does. As ``open_model`` takes them.

    Raises:
        EdgeaiError: as ``Opening.open``, ``build_pipeline`` and ``build_task``.
    """
    guard, stated = bundle.guard, bundle.manifest.guard
    if guard is None or stated is None or stated.model is None:
        return None
    pipeline, task = build_pipeline(guard, registry), build_task(guard, registry)
    formats = tuple(artifact.format for artifact in guard.artifacts)
    offers = Offers(wishes, registry=registry, loader=loader, excluded=excluded, formats=formats, breadcrumb=breadcrumb)
    opened = Opening(guard, offers, excluded, replace(use, measured={}), breadcrumb).open()
    return Sentry(guard, stated.model, opened, pipeline, task, breadcrumb=breadcrumb)


def with_sentry(
    bundle: Bundle,
    engine: OpenEngine,
    wishes: Sequence[Wish],
    registry: Registry,
    loader: Loader | None,
    excluded: Mapping[str, str],
    *,
    use: EngineUse,
    breadcrumb: Breadcrumb,
) -> OpenEngine:
    """The engine of a bundle's model, with the model that stands before it; it is closed where that does not open.

    Raises:
        EdgeaiError: as ``open_sentry``.
    """
    beside = wishes_beside(engine.engine, wishes)
    try:
        sentry = open_sentry(
            bundle, beside, registry=registry, loader=loader, excluded=excluded, use=use, breadcrumb=breadcrumb
        )
    except BaseException:
        engine.session.close()
        raise
    return replace(engine, sentry=sentry)


def wishes_beside(engine: EngineRef, wishes: Sequence[Wish]) -> tuple[Wish, ...]:
    """First the engine that the model runs on, as one engine takes less memory than two; then as it was wished."""
    meant: dict[str, str | None] = {engine.backend: engine.device}
    for wish in wishes:
        meant.setdefault(wish.backend, wish.device)
    return tuple(Wish(backend=backend, device=device) for backend, device in meant.items())


def _scores(findings: Findings) -> dict[str, float]:
    """The highest score of each label; one without a score counts by whether it is stated."""
    scores: dict[str, float] = {}
    for finding in _labels(findings):
        score = float(finding.present) if finding.probability is None else finding.probability
        scores[finding.label] = max(score, scores.get(finding.label, 0.0))
    return scores


def _labels(findings: Findings) -> Sequence[Finding]:
    """Those that say what is in the image; whether it fits its header is another question."""
    return [finding for finding in findings if finding.kind != "agreement"]
