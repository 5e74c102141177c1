"""A model before the model on a cart: a death of its engine is that plugin's, and its image is never let through."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeai.bundle.archive import pack
from edgeai.bundle.parts import ArtifactDecl
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.uses import GuardModel, GuardUse
from edgeai.testing.fakes import Misbehaviour, write_fake_artifact

BRIGHT, DULL = 250, 20


def test_what_kills_its_engine_is_not_let_through_and_is_laid_on_its_plugin(cart: Any, until: Any) -> None:
    cart.configure()
    path, content = cart.folder / "guard.edgeai", cart.folder / "content"
    plain = read_manifest(path)[0]
    flag = cart.folder / "dies"
    inputs, outputs = plain.input_specs(), plain.output_specs()
    dies = Misbehaviour(how="abort", flag=str(flag))
    write_fake_artifact(content / "before.fake", inputs, outputs, misbehave=dies)
    model = GuardModel(
        task=plain.task,
        admit=("dull",),  # which the fake says of what is bright
        min_score=0.6,
        inputs=plain.inputs,
        outputs=plain.outputs,
        transforms=plain.transforms,
        artifacts=(ArtifactDecl(id="before", format="fake", precision="fp32", path="before.fake"),),
    )
    guarded = msgspec.structs.replace(plain, schema=2, guard=GuardUse(content=False, model=model), files={})
    pack(content, guarded, path)
    cart.start()
    cart.ready()
    withheld, answered = cart.admit(DULL), cart.admit(BRIGHT)
    assert cart.result_of(answered)["outcome"] == "completed"
    ended = cart.result_of(withheld)
    assert (ended["outcome"], ended["reason"]["code"]) == ("not-applicable", "guard.not-admitted")
    flag.touch()
    dying = cart.admit(BRIGHT)
    until(lambda: cart.logged("role.died"))
    flag.unlink()
    until(lambda: cart.events("plugin.fault"))
    assert {(death["step"], death["plugin"]) for death in cart.logged("role.died")} == {("run", "fakes")}
    assert cart.result_of(dying)["outcome"] in ("completed", "failed"), "done again once it lives, or given up"
