"""What one bundle of a model changes of another, in words, and which of it a plan lets through. Pure.

The same function tells people (`edgeai fleet diff`) and decides on the cart, so that nobody is told otherwise than is
done. It rests on the manifests alone: they name every byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from edgeai.bundle.change_control import ChangeControl
from edgeai.bundle.manifest import Manifest

Standing: TypeAlias = Literal["document", "free", "within-bounds", "approval"]
"""``document``: changes no answer, and is never asked about. ``free``, ``within-bounds``: the plan lets it through.
``approval``: somebody must have signed for it."""

_ASKED: Final[Mapping[str, str]] = {
    "name": "the model",
    "intended_use": "the intended use",
    "eligibility": "which images it is for",
    "pixels": "how pixels are decoded",
    "frames": "which frames are run",
    "transforms": "the transforms",
    "inputs": "the inputs",
    "outputs": "the outputs",
    "plugins": "the plugins that it needs",
    "unit": "what an answer is about",
    "feeds": "what feeds the inputs",
    "guard": "the guard",
    "explanations": "the explanations",
}
"""Fields of a manifest that no plan lets through, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is otherwise: ``kind`` says what sort of thing, ``where`` which; ``says`` is for people."""

    kind: str
    where: str
    says: str
    was: Any = None
    now: Any = None


def changes_between(before: Manifest, after: Manifest) -> tuple[Change, ...]:
    """All that ``after`` changes; empty only for two bundles of one content."""
    return (*_asked(before, after), *_options(before, after), *_artifacts(before, after), *_documents(before, after))


def standing_of(change: Change, control: ChangeControl | None) -> Standing:
    """Under which class of a plan a change falls; without a plan, what one would ask about is ``approval``."""
    if change.kind == "document":
        return "document"
    if control is None:
        return "approval"
    if change.kind in control.free:
        return "free"
    if change.kind == "option":
        bound = next((bound for path, bound in control.bounds.items() if matches(change.where, path)), None)
        if bound is not None and bound.holds(change.now):
            return "within-bounds"
    return "approval"


def to_approve(before: Manifest, after: Manifest, control: ChangeControl) -> tuple[Change, ...]:
    """The changes that the plan of ``before`` does not let through."""
    return tuple(change for change in changes_between(before, after) if standing_of(change, control) == "approval")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each end of nested tables and lists: ``labels.0.threshold``. An empty one is an end itself."""
    nested = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    items = list(nested)
    if not items:
        yield path, value
    for key, item in items:
        yield from leaves(item, f"{path}.{key}" if path else str(key))


def _asked(before: Manifest, after: Manifest) -> Iterator[Change]:
    for field, words in _ASKED.items():
        was, now = _plain(getattr(before, field)), _plain(getattr(after, field))
        if was == now:
            continue
        says = "; ".join(_differences(was, now)) or "changed"
        yield Change(kind=field, where=field, says=f"{words}: {says}", was=was, now=now)
    if before.guard == after.guard and _guard_files(before) != _guard_files(after):
        yield Change(kind="guard", where="guard", says="the guard: other weights or parameters")
    if before.task.name != after.task.name:
        says = f"the task: was {before.task.name}, is {after.task.name}"
        yield Change(kind="task", where="task", says=says, was=before.task.name, now=after.task.name)
    plans = [_hash(manifest, manifest.change_control) for manifest in (before, after)]
    if plans[0] != plans[1]:
        says = "what a later release may change without asking"
        yield Change(kind="change_control", where="change_control", says=says, was=plans[0], now=plans[1])


def _options(before: Manifest, after: Manifest) -> Iterator[Change]:
    """Of the task: labels, thresholds, calibration; which of them is which, a plan says by its bounds."""
    was, now = dict(leaves(_plain(before.task.options))), dict(leaves(_plain(after.task.options)))
    for path in sorted({*was, *now}):
        old, new = was.get(path), now.get(path)
        if old != new or type(old) is not type(new):
            yield Change(kind="option", where=path, says=f"task option {path}: {_moved(old, new)}", was=old, now=new)


def _artifacts(before: Manifest, after: Manifest) -> Iterator[Change]:
    was, now = ({item.id: _plain(item) for item in manifest.artifacts} for manifest in (before, after))
    for each in sorted({*was, *now}):
        old, new = was.get(each), now.get(each)
        if old != new:
            words = "is gone" if new is None else "is new" if old is None else "; ".join(_differences(old, new))
            yield Change(kind="recipe", where=each, says=f"artifact {each}: {words}", was=old, now=new)
        # What is new brings weights of its own: a plan that lets recipes change lets no weights through by that.
        if new is not None and (old is None or _contents(before, old["path"]) != _contents(after, new["path"])):
            yield Change(kind="weights", where=each, says=f"artifact {each}: other weights")
    if [item.id for item in before.artifacts] != [item.id for item in after.artifacts] and set(was) == set(now):
        yield Change(kind="recipe", where="order", says="artifacts: another order of preference")
    yield from _golden(before, after)


def _golden(before: Manifest, after: Manifest) -> Iterator[Change]:
    cases = [{item.id: item for item in manifest.golden} for manifest in (before, after)]
    contents = [
        {
            name: [
                (key, _hash(manifest, path))
                for key, path in (*sorted(case.inputs.items()), *sorted(case.outputs.items()))
            ]
            for name, case in of.items()
        }
        for manifest, of in zip((before, after), cases, strict=True)
    ]
    if contents[0] != contents[1]:
        yield Change(kind="weights", where="golden", says="golden cases: other inputs or answers")
    bounds = [
        {
            name: _plain((case.tolerance, case.artifacts))
            for name, case in of.items()
            if name in cases[0] and name in cases[1]
        }
        for of in cases
    ]
    if bounds[0] != bounds[1]:
        yield Change(
            kind="recipe", where="tolerance", says="golden cases: other tolerances", was=bounds[0], now=bounds[1]
        )


def _documents(before: Manifest, after: Manifest) -> Iterator[Change]:
    for field in ("version", "release", "min_edgeai", "licence"):
        was, now = getattr(before, field), getattr(after, field)
        if was != now:
            yield Change(kind="document", where=field, says=f"{field}: {_moved(was, now)}", was=was, now=now)
    own = [_own(manifest) for manifest in (before, after)]
    names = sorted({*own[0], *own[1]})
    for name in names:
        was, now = own[0].get(name), own[1].get(name)
        if was != now:
            says = f"{name}: " + ("is gone" if now is None else "is new" if was is None else "another content")
            yield Change(kind="document", where=name, says=says, was=was, now=now)


def _own(manifest: Manifest) -> dict[str, str]:
    """Files by hash that nothing else speaks of: card, evidence, bill of materials, licence, attachments."""
    from edgeai.bundle.partial import own_files

    taken = {path for case in manifest.golden for path in (*case.inputs.values(), *case.outputs.values())}
    for artifact in manifest.artifacts:
        taken |= own_files(manifest, artifact.path)
    taken |= {manifest.change_control or "", *_guard_files(manifest)}
    return {name: declared.sha256 for name, declared in manifest.files.items() if name not in taken}


def _guard_files(manifest: Manifest) -> dict[str, str]:
    """All that the guard is made of, by hash."""
    from edgeai.bundle.partial import guard_artifacts, own_files

    guard = manifest.guard
    if guard is None:
        return {}
    paths = {name for artifact in guard_artifacts(manifest) for name in own_files(manifest, artifact.path)}
    cases = guard.model.golden if guard.model is not None else ()
    paths |= {path for case in cases for path in (*case.inputs.values(), *case.outputs.values())}
    paths |= {guard.distance.parameters} if guard.distance is not None else set()
    return {path: manifest.files[path].sha256 for path in sorted(paths)}


def _contents(manifest: Manifest, path: str) -> list[str]:
    """Of an artifact, whatever its files are called."""
    from edgeai.bundle.partial import own_files

    return sorted(manifest.files[name].sha256 for name in own_files(manifest, path))


def _hash(manifest: Manifest, path: str | None) -> str | None:
    return manifest.files[path].sha256 if path is not None else None


def _plain(value: Any) -> Any:
    """As JSON would have it."""
    return msgspec.to_builtins(value)


def _differences(was: Any, now: Any) -> Iterator[str]:
    old, new = dict(leaves(was)), dict(leaves(now))
    for path in dict.fromkeys((*old, *new)):
        if old.get(path) != new.get(path):
            yield f"{path} {_moved(old.get(path), new.get(path))}".lstrip()


def _moved(was: Any, now: Any) -> str:
    return f"was {_told(was)}, is {_told(now)}"


def _told(value: Any) -> str:
    return "absent" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def matches(where: str, path: str) -> bool:
    """Whether a leaf's path is one that a bound is of."""
    parts, wanted = where.split("."), path.split(".")
    return len(parts) == len(wanted) and all(each in ("*", part) for part, each in zip(parts, wanted, strict=True))
