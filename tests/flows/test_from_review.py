"""A rebuild from a review counts what is new since the version that it registered last."""

import pytest

from faceops.base.errors import FaceOpsError
from faceops.gallery.journal import Action, Entry, Ignored
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery


def test_decisions_are_new_until_a_version_was_registered(bundle, tmp_path, monkeypatch):
    from prefect.logging import disable_run_logger

    from flows import from_review
    from flows.from_review import LEARNED, import_decisions, note_learned

    monkeypatch.setattr(from_review, "load_model", lambda *_: bundle)
    gallery, release = tmp_path / "gallery", bundle.release
    Gallery(gallery, release.contract_id, release.embedding_size).save()
    journal, box = storage_of(gallery).journal(), (10.0, 10.0, 40.0, 40.0)

    def ignore(count: int) -> list[Entry]:
        return journal.append(
            Entry(Action.IGNORE, f"{n:064x}", box, (99, 99), detail=Ignored.NOT_A_FACE)
            for n in range(count)
        )

    def new(least: int) -> tuple[int, bool]:
        with disable_run_logger():
            count, done = import_decisions.fn(tmp_path, gallery, least)
        return count, done is not None

    first = ignore(3)
    assert new(4) == (3, False)
    assert not (tmp_path / "data").exists()
    assert new(3) == (3, True)
    assert new(3) == (3, True), "the rebuild failed"
    note_learned(tmp_path)
    assert new(1) == (0, False)
    journal.remove([entry.id for entry in first])
    ignore(3)
    assert new(6) == (6, True), "as many are new as were forgotten"
    note_learned(tmp_path)
    journal.append([Entry(Action.UNDO, detail=journal.entries()[0].id)])
    assert new(2) == (1, False)
    (tmp_path / LEARNED).write_text("[]")
    with pytest.raises(FaceOpsError, match=r"decisions\.json cannot be read .*; remove it"):
        new(1)
