"""``[guard.model]`` of a card: the model of another bundle, put before this one into the bundle that ships.

What it is (task, tensors, transforms, artifacts, golden cases) comes out of that bundle as it was judged there. The
card says which bundle, by its digest, what is let through, and from which score on.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from edgeai.api import ConfigError
from edgeai.bundle.archive import SUFFIX
from edgeai.bundle.manifest import MANIFEST_NAME, ArtifactDecl, GoldenCase, Manifest
from edgeai.bundle.partial import own_files
from edgeai.bundle.parts import Eligibility
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.bundle.uses import GuardModel, GuardUse
from edgeai.model.loading import Loader, wishes_of
from edgeai.model.opening import EngineUse
from edgeai.model.sentry import Sentry, open_sentry
from edgeai.model.steps import no_breadcrumb
from edgeai_workbench.card import CARD_NAME, Card, read_card
from edgeai_workbench.card_parts import StandingUse
from edgeai_workbench.judges import judge_by_plugins

PREFIX: Final = "guard/"
"""Where a bundle has the files of the model that stands before its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The model that a card puts before its own.

    Attributes:
        asked: what the card says.
        bundle: that it comes from, verified.
    """

    asked: StandingUse
    bundle: Bundle

    @property
    def plugins(self) -> tuple[str, ...]:
        """Those that a device needs for it."""
        return self.bundle.manifest.plugins

    def use(self, formats: Collection[str], *, prefix: str = PREFIX) -> GuardModel:
        """What a manifest says of it.

        Args:
            formats: those of the model's artifacts: each must have one of the guard's, so that no engine lacks it.
            prefix: before each path.

        Raises:
            ConfigError: ``config.guard-engines``.
        """
        manifest = self.bundle.manifest
        artifacts = self._chosen(formats)
        ids = {artifact.id for artifact in artifacts}
        return GuardModel(
            task=manifest.task,
            admit=self.asked.admit,
            min_score=self.asked.min_score,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            artifacts=tuple(msgspec.structs.replace(each, path=f"{prefix}{each.path}") for each in artifacts),
            transforms=manifest.transforms,
            golden=tuple(_moved(case, prefix, ids) for case in manifest.golden),
        )

    def copy(self, use: GuardModel, target: Path) -> None:
        """Its files, below ``target`` as ``use`` names them."""
        manifest = self.bundle.manifest
        names = {name for each in use.artifacts for name in own_files(manifest, each.path.removeprefix(PREFIX))}
        names |= {
            path.removeprefix(PREFIX) for case in use.golden for path in (*case.inputs.values(), *case.outputs.values())
        }
        for name in sorted(names):
            (target / PREFIX / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.bundle.path(name), target / PREFIX / name)

    @contextmanager
    def opened(self) -> Iterator[Sentry]:
        """Open here, on the engine that comes first of those that its bundle has an artifact for.

        Raises:
            EdgeaiError: as ``open_model``.
        """
        use = self.use((), prefix="")
        manifest = msgspec.structs.replace(self.bundle.manifest, guard=GuardUse(model=use))
        loader = Loader(no_breadcrumb)
        sentry = open_sentry(
            replace(self.bundle, manifest=manifest),
            wishes_of((), None),
            registry=loader.registry(manifest.plugins),
            loader=loader,
            excluded={},
            use=EngineUse(threads=1, settings={}),
            breadcrumb=no_breadcrumb,
        )
        assert sentry is not None
        with closing(sentry):
            yield sentry

    def _chosen(self, formats: Collection[str]) -> tuple[ArtifactDecl, ...]:
        """The artifacts that the card names, or else those of these formats; without any, all."""
        there, named = self.bundle.manifest.artifacts, self.asked.artifacts
        if unknown := sorted(set(named) - {each.id for each in there}):
            raise _no_engine(f"its bundle has no artifact {unknown[0]}; it has {', '.join(each.id for each in there)}")
        chosen = tuple(each for each in there if (each.id in named if named else not formats or each.format in formats))
        if lacking := sorted(set(formats) - {each.format for each in chosen}):
            raise _no_engine(f"it has no artifact of the format {lacking[0]}, which the model has")
        return chosen


def standing_of(card: Card, folder: Path) -> Standing | None:
    """What the card of a folder puts before its model; ``None`` where it puts nothing there.

    Raises:
        ConfigError: ``config.guard-missing``, ``config.guard-changed``, ``config.guard-label``, ``config.guard-unfit``.
        BundleRejected: the bundle is not sound.
    """
    asked = card.guard.standing
    if asked is None:
        return None
    bundle = open_bundle(_place(folder, asked.bundle))
    if bundle.digest != asked.digest:
        raise ConfigError(
            f"[guard.model] {asked.bundle} is {bundle.digest}, the card describes {asked.digest}",
            code="config.guard-changed",
            remedy="look at what has changed of it, then write its digest into the card",
        )
    _hold_fit(card, bundle.manifest)
    _hold_labels(asked, bundle.manifest)
    return Standing(asked=asked, bundle=bundle)


@contextmanager
def sentry_of(card: Card, folder: Path) -> Iterator[Sentry | None]:
    """The model that a card puts before its own, open here; ``None`` where it puts none. Raises as ``standing_of``."""
    standing = standing_of(card, folder)
    if standing is None:
        yield None
        return
    with standing.opened() as sentry:
        yield sentry


def _place(folder: Path, named: str) -> Path:
    """The bundle that a card names: itself, or the one that lies beside its own card."""
    path = folder / named
    if (path / CARD_NAME).is_file() and not (path / MANIFEST_NAME).is_file():
        card = read_card(path)
        path = path / f"{card.name}-{card.version}{SUFFIX}"
    if not path.exists():
        raise ConfigError(
            f"[guard.model] there is no {path}",
            code="config.guard-missing",
            remedy="name a bundle, or the folder of a card whose bundle lies in it, from the card's own folder",
        )
    return path


def _hold_fit(card: Card, manifest: Manifest) -> None:
    """Refuse what cannot stand before another model as it was judged."""
    if len(manifest.inputs) != 1:
        raise _unfit(f"{manifest.name} takes {len(manifest.inputs)} inputs, an image gives one")
    stages = [stage for stage in (manifest.guard.stages if manifest.guard is not None else ()) if stage != "content"]
    if stages:
        raise _unfit(f"{manifest.name} has a guard of its own ({', '.join(stages)}), which would be left out")
    if fast := sorted(set(card.pixels.fast) - set(manifest.pixels.fast)):
        raise _unfit(f"{manifest.name} was not judged on what the card's [pixels] {', '.join(fast)} decodes")
    if beyond := _beyond(card.eligibility, manifest.eligibility):
        raise _unfit(f"{manifest.name} was not judged on all that the card's [eligibility] lets in: {beyond}")


def _beyond(admits: Eligibility, judged: Eligibility) -> str:
    """What the first lets in and the second does not, in words; empty where that is nothing.

    A bundle's own eligibility is the only one that a cart asks: the guard's would not be.
    """
    for key in (each.name for each in msgspec.structs.fields(Eligibility)):
        wide, narrow = getattr(admits, key), getattr(judged, key)
        if isinstance(narrow, int):
            if wide < narrow:
                return f"{key} is {wide} and must be {narrow} at least"
        elif narrow and (not wide or {_plain(each) for each in wide} - {_plain(each) for each in narrow}):
            return f"{key} is {' or '.join(wide) or 'any'} and must be of {', '.join(narrow)}"
    return ""


def _plain(value: str) -> str:
    return value.strip().upper()


def _hold_labels(asked: StandingUse, manifest: Manifest) -> None:
    judge = judge_by_plugins(manifest.plugins, manifest.task, manifest.output_specs())
    if unknown := [label for label in asked.admit if label not in judge.labels]:
        gives = f"it gives {', '.join(judge.labels)}" if judge.labels else "it gives none"
        raise ConfigError(
            f"[guard.model] {manifest.name} has no label {unknown[0]!r}: {gives}",
            code="config.guard-label",
            remedy="admit labels that the guard's model gives; without any it can admit nothing",
        )


def _moved(case: GoldenCase, prefix: str, artifacts: Collection[str]) -> GoldenCase:
    inputs, outputs = (
        {name: f"{prefix}{path}" for name, path in paths.items()} for paths in (case.inputs, case.outputs)
    )
    kept = {name: tolerance for name, tolerance in case.artifacts.items() if name in artifacts}
    return msgspec.structs.replace(case, inputs=inputs, outputs=outputs, artifacts=kept)


def _unfit(why: str) -> ConfigError:
    return ConfigError(f"[guard.model] {why}", code="config.guard-unfit", remedy="put another model there, or none")


def _no_engine(why: str) -> ConfigError:
    return ConfigError(
        f"[guard.model] {why}",
        code="config.guard-engines",
        remedy="build the guard's bundle for each engine that the model's artifacts are for, or ship fewer of these",
    )
