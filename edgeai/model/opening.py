"""Open a bundle here: load what it names, choose an engine, and say why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgeai.api.endings import NotApplicable
from edgeai.api.errors import BackendError, BackendUnavailable, BundleRejected, ConfigError, EdgeaiError
from edgeai.api.options import Options
from edgeai.api.results import Degradation, EngineRef
from edgeai.api.specs import BackendSpec, OpenRequest, Session, Task, TaskRequest
from edgeai.api.tensors import TensorSpec
from edgeai.bundle.reader import Bundle, verify_again
from edgeai.hosting import PluginInfo
from edgeai.model.abstaining import Abstention
from edgeai.model.distance import Distance
from edgeai.model.kept_threads import KeptThreads, cores
from edgeai.model.loading import Offers
from edgeai.model.steps import Breadcrumb, RiskyStep
from edgeai.model.threads import SingleFrames
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai.selection import Candidate, Choice, Offer, Wish, choose

if TYPE_CHECKING:
    from edgeai.model.sentry import Sentry


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEngine:
    """A session, and how it came to be this one."""

    session: Session
    engine: EngineRef
    provider: PluginInfo
    choice: Choice
    distance: Distance | None = None
    """What its answers are held to."""
    sentry: Sentry | None = None
    """The model that stands before it."""

    @property
    def degraded(self) -> Degradation | None:
        """What was wished for and not taken."""
        return self.choice.degraded


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUse:
    """The device's plumbing for a session: threads, and settings by backend; ``measured`` threads win where known."""

    threads: int = 0
    settings: Mapping[str, Options]
    measured: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """(backend, device, artifact) -> threads."""
    keep_threads: Path | None = None
    """Where the number of threads is kept that measures best for single frames; without, the engine's own is taken."""

    def threads_of(self, taken: Candidate) -> int:
        """How many threads this candidate runs on; 0 for the engine's own default."""
        return self.measured.get((taken.backend, taken.device, taken.artifact), self.threads)

    def may_measure(self, taken: Candidate) -> bool:
        """Whether nobody has said how many threads this candidate runs on, and the number makes a difference."""
        return self.keep_threads is not None and taken.device == "CPU" and not self.threads_of(taken) and cores() > 1


def build_pipeline(bundle: Bundle, registry: Registry) -> Pipeline:
    """The manifest's transforms, in front of its input.

    Raises:
        BundleRejected: ``bundle.unsupported-inputs``: a model of several inputs, or none.
        PluginNotFound, TransformFailed, TensorMismatch: as ``Pipeline``.
    """
    eligibility = bundle.manifest.eligibility

    def seen(rows: int, columns: int) -> None:
        if why := eligibility.too_small(rows, columns):
            raise NotApplicable(f"what is left of the image is too small: {why}", code="input.not-eligible")

    steps, transforms = bundle.manifest.transforms, registry.transforms
    plugins = [registry.provider(transforms[step.transform]) for step in steps if step.transform in transforms]
    return Pipeline(steps, transforms, _only_input(bundle), seen=seen, plugins=plugins)


def build_task(bundle: Bundle, registry: Registry) -> Task:
    """The manifest's task, over the outputs that are its own.

    Raises:
        PluginNotFound: no loaded plugin has it.
        TaskFailed: its options make no sense.
        BundleRejected: ``bundle.not-honoured``: the bundle abstains, and this task leaves nothing open.
    """
    use, outputs = bundle.manifest.task, bundle.manifest.task_outputs()
    registry.spec("task", use.name)  # says which plugins did not load, when it is missing
    task = registry.tasks[use.name].build(TaskRequest(options=use.options, outputs=outputs))
    Abstention.of(bundle.manifest.guard, task)  # refused before an engine is opened
    return task


class Opening:
    """Tries backends in the order of the wishes until one opens; those behind it are not even loaded."""

    def __init__(
        self, bundle: Bundle, offers: Offers, excluded: Mapping[str, str], use: EngineUse, breadcrumb: Breadcrumb
    ) -> None:
        self._bundle = bundle
        self._offers = offers
        self._excluded = excluded
        self._use = use
        self._breadcrumb = breadcrumb
        self._seen: list[Offer] = []
        self._failed: dict[Candidate, EdgeaiError] = {}

    def open(self) -> OpenEngine:
        """The first that opens.

        Raises:
            BackendUnavailable, ModelRejected: nothing opens; the message lists every backend, with why not.
            ConfigError: settings that a backend does not take.
        """
        refusal: EdgeaiError = BackendUnavailable(
            "no backend is installed",
            code="backend.no-candidate",
            remedy="install a plugin that provides one: `edgeai plugins list` says what is here",
        )
        for backend, wishes in self._offers.turns():
            offer = self._offers.offer(backend, named=any(wish.backend == backend for wish in wishes))
            if offer is None:
                continue
            self._seen.append(offer)
            choice = self._choose(wishes)
            while isinstance(choice, Choice):
                opened = self._try(choice)
                if isinstance(opened, OpenEngine):
                    return opened
                choice = self._choose(wishes)
            refusal = choice
        raise refusal

    def _choose(self, wishes: Sequence[Wish]) -> Choice | EdgeaiError:
        """The choice among what was probed so far, past what did not open; or why there is none left."""
        try:
            choice = choose(self._seen, self._bundle.manifest.artifacts, wishes, self._excluded, self._bundle.absent)
            while choice.taken in self._failed:
                choice = choice.after(self._failed[choice.taken])
        except EdgeaiError as error:
            return error
        return choice

    def _try(self, choice: Choice) -> OpenEngine | EdgeaiError:
        """Open the best candidate, or say why it does not open."""
        taken = choice.taken
        spec, info = self._offers.spec(taken.backend)
        try:
            with self._breadcrumb(RiskyStep("open", info)):
                session = self._session(spec, taken, info)
        except ConfigError:
            raise  # a mistake in the settings is the integrator's to mend, not to be passed over
        except EdgeaiError as error:
            self._failed[taken] = error
            return error
        engine = EngineRef(
            backend=taken.backend,
            engine=str(getattr(session, "engine", "")) or self._usual(taken),  # settings may have picked another
            device=taken.device,
            artifact=taken.artifact,
            precision=taken.precision,
        )
        return OpenEngine(session=session, engine=engine, provider=info, choice=choice)

    def _usual(self, taken: Candidate) -> str:
        """The engine that its backend takes where no setting names another."""
        return next(offer.engine for offer in self._seen if offer.backend == taken.backend)

    def _session(self, spec: BackendSpec, taken: Candidate, info: PluginInfo) -> Session:
        """The artifact open on the threads that the profile gives, or on those that measured best."""
        request = self._request(taken)
        if not self._use.may_measure(taken):
            return spec.open(request)

        def again(threads: int) -> Session:
            with self._breadcrumb(RiskyStep("open", info)):
                verify_again(self._bundle)
                return spec.open(replace(request, threads=threads))

        kept = KeptThreads(cast("Path", self._use.keep_threads), self._facts(taken, request))
        known = kept.read()
        if known is not None and known.count:
            with suppress(BackendError):  # it did when it was measured; the engine's own number is what is left
                session = spec.open(replace(request, threads=known.count))
                return SingleFrames(session, again=again, kept=kept, threads=known)
            known = None
        return SingleFrames(spec.open(request), again=again, kept=kept, threads=known)

    def _facts(self, taken: Candidate, request: OpenRequest) -> dict[str, Any]:
        """Whatever makes a measurement of threads stale, but for the machine."""
        engine = {"backend": taken.backend, "engine": self._usual(taken), "device": taken.device}
        facts = {
            "bundle": self._bundle.digest,
            "artifact": taken.artifact,
            **engine,
            "settings": dict(request.settings),
        }
        return {**facts, "part": "guard"} if self._bundle.is_guard else facts

    def _request(self, taken: Candidate) -> OpenRequest:
        manifest = self._bundle.manifest
        artifact = next(item for item in manifest.artifacts if item.id == taken.artifact)
        return OpenRequest(
            artifact=self._bundle.path(artifact.path),
            device=taken.device,
            inputs=manifest.input_specs(),
            outputs=manifest.output_specs(),
            threads=self._use.threads_of(taken),
            options=artifact.options,
            settings=self._use.settings.get(taken.backend, {}),
            cache_dir=None,  # a compiled copy would be covered by no hash of the manifest
        )


def _only_input(bundle: Bundle) -> TensorSpec:
    specs = bundle.manifest.input_specs()
    if len(specs) != 1:
        raise BundleRejected(
            f"the model takes {len(specs)} inputs ({', '.join(spec.name for spec in specs)}); an image gives one",
            code="bundle.unsupported-inputs",
        )
    return specs[0]
