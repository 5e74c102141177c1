"""What a later release may change: what is compared, what a plan lets through, and what a cart refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from edgeai.api.errors import BundleRejected
from edgeai.bundle.approvals import Approvers
from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.change_control import (
    ChangeControl,
    Range,
    change_control_schema,
    decode_change_control,
    encode_change_control,
)
from edgeai.bundle.changes import changes_between, standing_of, to_approve
from edgeai.bundle.floors import Floors
from edgeai.bundle.keys import KeyPair, make_keys
from edgeai.bundle.manifest import (
    ArtifactDecl,
    Eligibility,
    FileDecl,
    GoldenCase,
    Manifest,
    TaskUse,
    TensorDecl,
    Tolerance,
)
from edgeai.bundle.releases import Numbered
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.bundle.trust import TrustPolicy
from edgeai.bundle.uses import DistanceUse, GuardModel, GuardUse
from edgeai.slots import SlotFolder
from edgeai.slots.answered import Answer, append_answer

PLAN = ChangeControl(
    free=("weights", "recipe"),
    bounds={"labels.*.threshold": Range(least=0.3, most=0.7), "temperature": Range(least=0.5, most=3.0)},
)
OPTIONS: dict[str, Any] = {"labels": [{"label": "no"}, {"label": "yes", "threshold": 0.5}], "temperature": 1.0}
SCHEMA = json.loads((Path(__file__).parents[2] / "edgeai/schemas/pccp-1.json").read_text())


def files(**contents: str) -> dict[str, FileDecl]:
    return {path: FileDecl(sha256=(seed * 64)[:64], bytes=1) for path, seed in contents.items()}


FILES = files(**{"artifacts/m.tflite": "1", "g/i.npy": "2", "g/o.npy": "3", "pccp.json": "4", "model.toml": "5"})


@pytest.fixture
def model(tiny: Manifest) -> Manifest:
    case = GoldenCase(id="case", inputs={"image": "g/i.npy"}, outputs={"scores": "g/o.npy"})
    changed = {"schema": 2, "task": TaskUse(name="any", options=OPTIONS), "golden": (case,), "files": FILES}
    return msgspec.structs.replace(tiny, change_control="pccp.json", **changed)


def with_options(model: Manifest, **options: Any) -> Manifest:
    return msgspec.structs.replace(model, task=TaskUse(name="any", options={**OPTIONS, **options}))


def with_files(model: Manifest, **contents: str) -> Manifest:
    return msgspec.structs.replace(model, files={**model.files, **files(**contents)})


def kinds(before: Manifest, after: Manifest) -> set[str]:
    return {change.kind for change in changes_between(before, after)}


def asked(before: Manifest, after: Manifest, plan: ChangeControl = PLAN) -> set[str]:
    return {change.where for change in to_approve(before, after, plan)}


# --- what a plan lets through -----------------------------------------------------------------


def test_two_of_one_content_change_nothing(model: Manifest) -> None:
    assert changes_between(model, model) == ()


def test_weights_and_recipe_are_free_where_the_plan_says_so(model: Manifest) -> None:
    weights = with_files(model, **{"artifacts/m.tflite": "a", "g/i.npy": "b", "g/o.npy": "c"})
    assert kinds(model, weights) == {"weights"}
    assert asked(model, weights) == set()
    assert asked(model, weights, ChangeControl(free=("recipe",))) == {"a", "golden"}
    (case,) = model.golden
    wider = msgspec.structs.replace(model, golden=(msgspec.structs.replace(case, tolerance=Tolerance(absolute=9.0)),))
    assert kinds(model, wider) == {"recipe"}
    assert asked(model, wider) == set()
    assert asked(model, wider, ChangeControl(free=("weights",))) == {"tolerance"}


def test_a_new_artifact_brings_weights_of_its_own(model: Manifest) -> None:
    more = ArtifactDecl(id="b", format="tflite", precision="int8", path="artifacts/m.tflite")
    both = msgspec.structs.replace(model, artifacts=(*model.artifacts, more))
    assert kinds(model, both) == {"recipe", "weights"}
    assert asked(model, both) == set()
    assert asked(model, both, ChangeControl(free=("recipe",))) == {"b"}
    renamed = msgspec.structs.replace(model, artifacts=(msgspec.structs.replace(model.artifacts[0], path="g/i.npy"),))
    assert {"weights", "recipe"} <= kinds(model, renamed)  # a path is no way around
    assert kinds(both, msgspec.structs.replace(both, artifacts=both.artifacts[::-1])) == {"recipe"}


def test_documents_are_never_asked_about(model: Manifest) -> None:
    later = msgspec.structs.replace(with_files(model, **{"model.toml": "9", "NEW.md": "8"}), version="1.1.0", release=2)
    assert kinds(model, later) == {"document"}
    assert asked(model, later, ChangeControl()) == set()


@pytest.mark.parametrize(
    ("options", "standing"),
    [
        ({"temperature": 1.5}, "within-bounds"),
        ({"temperature": 3.0}, "within-bounds"),
        ({"temperature": 3.01}, "approval"),
        ({"temperature": True}, "approval"),
        ({"temperature": "1.5"}, "approval"),
        ({"temperature": float("nan")}, "approval"),
        ({"labels": [{"label": "no"}, {"label": "yes", "threshold": 0.7}]}, "within-bounds"),
        ({"labels": [{"label": "no", "threshold": 0.4}, {"label": "yes", "threshold": 0.5}]}, "within-bounds"),
        ({"labels": [{"label": "no"}, {"label": "yes", "threshold": 0.71}]}, "approval"),
        ({"labels": [{"label": "no"}, {"label": "maybe", "threshold": 0.5}]}, "approval"),
        ({"labels": [{"label": "no"}, {"label": "yes"}]}, "approval"),
        ({"labels": [{"label": "no"}]}, "approval"),
        ({"labels": []}, "approval"),
        ({"another": 0.5}, "approval"),
    ],
)
def test_an_option_may_move_within_its_bounds_and_no_further(model: Manifest, options: Any, standing: str) -> None:
    changes = changes_between(model, with_options(model, **options))
    assert {change.kind for change in changes} == {"option"}
    standings = {standing_of(change, PLAN) for change in changes}
    assert standing in standings
    assert (standing == "approval") == ("approval" in standings)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other"),
        ("intended_use", "Everything."),
        ("eligibility", Eligibility(modality=("US",))),
        ("inputs", (TensorDecl(name="image", dtype="float32", shape=(1, 3)),)),
        ("plugins", ("more",)),
        ("task", TaskUse(name="other", options=OPTIONS)),
        ("guard", GuardUse()),
        ("change_control", None),
    ],
)
def test_nothing_lets_these_through(model: Manifest, field: str, value: Any) -> None:
    changed = msgspec.structs.replace(model, **{field: value})
    assert field in asked(model, changed)
    assert field in asked(changed, model)


def test_the_plan_itself_and_what_the_guard_is_made_of_are_no_documents(model: Manifest) -> None:
    assert asked(model, with_files(model, **{"pccp.json": "9"})) == {"change_control"}
    small = GuardModel(
        task=TaskUse(name="any"),
        admit=("yes",),
        min_score=0.5,
        inputs=model.inputs,
        outputs=model.outputs,
        artifacts=(ArtifactDecl(id="g", format="tflite", precision="fp32", path="guard/g.tflite"),),
    )
    distance = DistanceUse(output="f", method="m", parameters="guard/d.npz", threshold=1.0, true_accept=0.9)
    guarded = msgspec.structs.replace(
        with_files(model, **{"guard/g.tflite": "6", "guard/d.npz": "7"}), guard=GuardUse(model=small, distance=distance)
    )
    for path in ("guard/g.tflite", "guard/d.npz"):
        assert asked(guarded, with_files(guarded, **{path: "9"})) == {"guard"}


def test_without_a_plan_all_of_it_would_be_asked_about(model: Manifest) -> None:
    after = with_options(with_files(model, **{"artifacts/m.tflite": "a", "model.toml": "b"}), temperature=1.5)
    assert {standing_of(change, None) for change in changes_between(model, after)} == {"approval", "document"}


# --- the file ---------------------------------------------------------------------------------


def test_a_plan_is_read_as_it_was_written_and_is_what_its_schema_says() -> None:
    data = encode_change_control(PLAN)
    assert decode_change_control(data) == PLAN
    assert change_control_schema() == SCHEMA
    jsonschema.validate(json.loads(data), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no JSON",
        '{"schema":2}',
        '{"schema":1,"free":["labels"]}',
        '{"schema":1,"freee":[]}',
        '{"schema":1,"free":[],"free":["weights"]}',
        '{"schema":1,"bounds":{"t":{"least":0.7,"most":0.3}}}',
        '{"schema":1,"bounds":{"t":{"least":0.3}}}',
        '{"schema":1,"bounds":{"t":{"least":0.3,"most":1e999}}}',
    ],
)
def test_a_plan_that_cannot_be_read_lets_nothing_through(text: str) -> None:
    with pytest.raises(BundleRejected) as refused:
        decode_change_control(text.encode())
    assert refused.value.code == "bundle.bad-change-control"


# --- the cart ---------------------------------------------------------------------------------


class Cart:
    """A deployment's slots, with a release of ``tiny`` that runs and has a plan; and those who sign."""

    def __init__(self, at: Path, write: Callable[[bytes], Path], tiny: Manifest) -> None:
        self.at, self._write, self._tiny = at, write, tiny
        self.release, self.clinic = (make_keys(name, at / "keys") for name in ("release", "clinic"))
        for folder, pair in (("trust", self.release), ("approvers", self.clinic)):
            (at / folder).mkdir()
            shutil.copy(pair.public.path, at / folder)
        self.slots = SlotFolder(
            at / "data/slots/head",
            Floors(at / "data/releases.json"),
            trust=TrustPolicy(keys=(at / "trust",)),
            approvers=Approvers(keys=at / "approvers", trusted=at / "trust"),
        )

    def bundle(self, release: int, *, plan: bytes | None, signed: tuple[KeyPair, ...] = (), **changes: Any) -> Numbered:
        folder = self._write(b"weights of %d" % release)
        (folder / "pccp.json").unlink(missing_ok=True)
        if plan is not None:
            (folder / "pccp.json").write_bytes(plan)
            changes = {"schema": 2, "change_control": "pccp.json", **changes}
        manifest = msgspec.structs.replace(self._tiny, release=release, **changes)
        out = self.at / f"{release}.edgeai"
        out.unlink(missing_ok=True)
        pack(folder, manifest, out)
        for pair in (self.release, *signed):
            sign_bundle(out, signer_of(str(pair.private), lambda what: ""))
        with Archive(out) as archive:
            return Numbered.of(archive.manifest, archive.digest)

    def install(self, bundle: Numbered) -> str:
        """What it ended with: ``installed``, or a code."""

        def fill(target: Path) -> None:
            with Archive(self.at / f"{bundle.release}.edgeai") as archive:
                target.mkdir()
                archive.unpack(target)

        try:
            if self.slots.read().active is None:
                self.slots.adopt(bundle, fill)
            else:
                self.slots.install(bundle, fill)
        except BundleRejected as error:
            self.told = str(error)
            assert self.slots.read().running is not None
            assert not self.slots.content(self.slots.read().spare).exists()
            return error.code
        return "installed"


@pytest.fixture
def cart(tmp_path: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> Cart:
    return Cart(tmp_path, write_tiny, tiny)


def test_a_cart_takes_what_the_plan_lets_through_and_nothing_more(cart: Cart) -> None:
    plan = encode_change_control(ChangeControl(free=("weights",)))
    assert cart.install(cart.bundle(1, plan=plan)) == "installed"
    assert cart.install(cart.bundle(2, plan=plan)) == "installed"
    widened = encode_change_control(ChangeControl(free=("weights", "recipe")))
    assert cart.install(cart.bundle(3, plan=widened)) == "bundle.change-not-allowed"
    assert cart.install(cart.bundle(4, plan=None)) == "bundle.change-not-allowed"
    assert cart.install(cart.bundle(5, plan=plan, intended_use="Everything.")) == "bundle.change-not-allowed"
    assert "the intended use: was Tests., is Everything." in cart.told


def test_an_approvers_signature_lets_it_through(cart: Cart) -> None:
    plan = encode_change_control(ChangeControl())
    assert cart.install(cart.bundle(1, plan=plan)) == "installed"
    assert cart.install(cart.bundle(2, plan=plan)) == "bundle.change-not-allowed"  # not even weights
    assert cart.install(cart.bundle(2, plan=plan, signed=(cart.clinic,))) == "installed"
    assert cart.install(cart.bundle(3, plan=None, signed=(cart.clinic,))) == "installed"


def test_an_approval_is_anothers_signature_by_a_key_that_counts(cart: Cart) -> None:
    plan = encode_change_control(ChangeControl())
    assert cart.install(cart.bundle(1, plan=plan)) == "installed"
    stranger = make_keys("stranger", cart.at / "keys")
    assert cart.install(cart.bundle(2, plan=plan, signed=(stranger,))) == "bundle.change-not-allowed"
    shutil.copy(cart.release.public.path, cart.at / "approvers")  # who may sign any bundle approves none
    assert cart.install(cart.bundle(2, plan=plan)) == "bundle.change-not-allowed"
    (cart.at / "approvers/trust.toml").write_text('[keys.clinic]\nmodels = ["other"]\n')
    approved = cart.bundle(2, plan=plan, signed=(cart.clinic,))
    assert cart.install(approved) == "bundle.change-not-allowed"
    (cart.at / "approvers/trust.toml").unlink()
    assert cart.install(approved) == "installed"


def test_without_a_plan_nothing_is_asked(cart: Cart) -> None:
    assert cart.install(cart.bundle(1, plan=None)) == "installed"
    assert cart.install(cart.bundle(2, plan=None, intended_use="Everything.")) == "installed"


def test_a_plan_that_cannot_be_read_holds_releases_back_but_for_approved_ones(cart: Cart) -> None:
    assert cart.install(cart.bundle(1, plan=b"{}")) == "installed"
    assert cart.install(cart.bundle(2, plan=b"{}")) == "bundle.bad-change-control"
    assert cart.install(cart.bundle(2, plan=b"{}", signed=(cart.clinic,))) == "installed"


def test_what_has_answered_here_may_come_back(cart: Cart) -> None:
    plan = encode_change_control(ChangeControl())
    assert cart.install(cart.bundle(1, plan=plan)) == "installed"
    other = cart.bundle(2, plan=plan)
    assert cart.install(other) == "bundle.change-not-allowed"
    append_answer(
        cart.slots.folder,
        Answer(since="2026-01-01T00:00:00Z", digest=other.digest, model="tiny", version="1", release=2),
    )
    assert cart.install(other) == "installed"


def test_a_profile_names_the_approvers(tmp_path: Path) -> None:
    from edgeai.config import load_config

    profile = tmp_path / "profile.toml"
    profile.write_text('[device]\nid = "cart"\nsite = "lab"\n[trust]\nkeys = "t"\napprovers = "a"\n')
    approvers = Approvers.of(load_config(profile).trust)
    assert (approvers.keys, approvers.trusted) == (tmp_path / "a", tmp_path / "t")
