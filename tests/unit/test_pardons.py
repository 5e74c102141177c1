"""``edgeai status --pardon DIGEST``: a bundle that failed here may come again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.slots import SlotFolder
from edgeai.slots.record import Failed, Slot, Slots, encode
from edgeai.spool import Spool

OLD, BAD, OTHER = f"sha256:{1:064x}", f"sha256:{'ab' * 32}", f"sha256:{'ab' * 31}cd"
FAILED = Failed(model="tiny", release=2, code="slots.slow", why="too slow", since="now")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.toml"
    names = ("guard", "head", "plain")
    deployments = "".join(
        f'[[deployments]]\nname = "{name}"\nbundle = "{name}.edgeai"\nupdates = {str(name != "plain").lower()}\n'
        for name in names
    )
    path.write_text(f'[device]\nid = "cart-1"\nsite = "here"\ndata_dir = "{tmp_path}"\n{deployments}')
    config = load_config(path)
    Spool.of(config).close()
    running = Slot(digest=OLD, model="tiny", release=1, stage="good", since="now", stood=True)
    left = Slot(digest=BAD, model="tiny", release=2, stage="bad", since="now", stood=True)
    kept = {"guard": {BAD: FAILED, OTHER: FAILED}, "head": {BAD: FAILED}}
    for item in config.deployments[:2]:
        state = SlotFolder.of_device(config, item).state
        state.parent.mkdir(parents=True)
        state.write_bytes(encode(Slots(a=running, b=left, active="a", bad=kept[item.name])))
    return path


def bad(profile: Path) -> dict[str, set[str]]:
    config = load_config(profile)
    return {item.name: set(SlotFolder.of_device(config, item).read().bad) for item in config.deployments}


@pytest.mark.parametrize("word", [BAD, BAD[:-1]])
def test_it_is_pardoned_wherever_it_failed(profile: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["status", str(profile), "--json", "--pardon", word])
    assert "tiny release 2 (sha256:abababababab...) may come again on guard, head" in capsys.readouterr().err
    assert bad(profile) == {"guard": {OTHER}, "head": set(), "plain": set()}
    run(["status", str(profile), "--json", "--pardon", f"{OTHER[:15]}..."])
    assert bad(profile)["guard"] == set(), "as messages show it"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (BAD[:19], "2 bundles that failed here begin with"),
        (OLD, "has not failed here"),
        ("sha256:ab", "has not failed here"),
        ("sha256:", "has not failed here"),
        (f"{BAD}ab", "has not failed here"),
        (BAD.upper().replace("SHA", "sha"), "has not failed here"),
    ],
)
def test_any_other_word_pardons_nothing_and_says_what_could_be(
    profile: Path, word: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bad(profile)
    assert run(["status", str(profile), "--json", "--pardon", word]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "slots.not-bad" in err
    assert why in err
    assert BAD in err
    assert bad(profile) == before
