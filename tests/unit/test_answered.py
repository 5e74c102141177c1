"""What a cart remembers of every model that ever answered, and `edgeai history` on carts that have none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.cli.main import run
from edgeai.slots.answered import NAME, Answer, append_answer, read_answers


def answer(number: int, **facts: str) -> Answer:
    digest = f"sha256:{number:064x}"
    return Answer(
        since="now", digest=digest, model="tiny", version="1.0.0", release=number, signers=("ops a1",), **facts
    )


def test_a_line_each_and_what_a_power_cut_left_half_is_passed_over(tmp_path: Path) -> None:
    assert read_answers(tmp_path) == ()
    append_answer(tmp_path, answer(1))
    append_answer(tmp_path, answer(2, by="activated"))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert read_answers(tmp_path) == (answer(1),)
    append_answer(tmp_path, answer(3))
    assert read_answers(tmp_path) == (answer(1), answer(3))
    path.write_bytes(b"\xff\n[]\n" + path.read_bytes() + b'{"since": 1}\n')
    assert read_answers(tmp_path) == (answer(1), answer(3))


def test_it_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        append_answer(tmp_path, answer(1))
    assert not (tmp_path / "elsewhere").exists()


PROFILE = 'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n'
DEPLOYMENT = '[[deployments]]\nname = "{name}"\nbundle = "guard.edgeai"\nupdates = {updates}\n'


@pytest.mark.parametrize(
    ("deployments", "words", "told"),
    [
        ("", (), "no deployment here takes updates"),
        (DEPLOYMENT.format(name="guard", updates="false"), (), "no deployment here takes updates"),
        (
            DEPLOYMENT.format(name="guard", updates="true"),
            ("--deployment", "gard"),
            "no deployment 'gard' takes updates",
        ),
    ],
)
def test_a_cart_without_slots_has_no_history_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], deployments: str, words: tuple[str, ...], told: str
) -> None:
    profile = tmp_path / "cart.toml"
    profile.write_text(PROFILE + deployments)
    assert run(["history", str(profile), *words]) == 2
    assert told in capsys.readouterr().err


def test_before_the_first_answer_it_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "cart.toml"
    profile.write_text(PROFILE + DEPLOYMENT.format(name="guard", updates="true"))
    assert run(["history", str(profile), "--json"]) == 0
    assert '"guard": []' in capsys.readouterr().out
    assert not (tmp_path / "data").exists(), "looking makes nothing"
