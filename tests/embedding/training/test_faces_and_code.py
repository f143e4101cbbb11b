"""The key changes with the faces and with the code, and with nothing else."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from faceops.embedding.training.feature_cache import faces_and_code
from tests.embedding.faces_for_training import coloured_people

FACES = coloured_people(3, 2)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("made_up")
    made.__file__ = str(tmp_path / "made_up.py")
    Path(made.__file__).write_text("A = 1", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "made_up", made)
    return made


def test_a_changed_line_of_code_gives_another_key(module: ModuleType) -> None:
    before = faces_and_code(FACES, ["made_up", __name__])
    assert faces_and_code(FACES, [__name__, "made_up"]) == before
    Path(str(module.__file__)).write_text("A = 2", encoding="utf-8")
    assert faces_and_code(FACES, ["made_up", __name__]) != before


def test_other_faces_or_another_order_give_another_key() -> None:
    before = faces_and_code(FACES, [__name__])
    assert faces_and_code(replace(FACES, rows=FACES.rows[::-1]), [__name__]) != before
    assert faces_and_code(replace(FACES, rows=FACES.rows[:-1]), [__name__]) != before
