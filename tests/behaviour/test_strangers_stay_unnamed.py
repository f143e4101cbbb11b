"""Unknown is an answer: who is not enrolled gets no name."""

from pathlib import Path

import pyarrow.parquet as pq

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle
from tests.behaviour.conftest import NameOf


def test_strangers_get_no_name_within_the_budget(synthetic_set: Path, name_of: NameOf) -> None:
    people = sorted((synthetic_set / "photos").iterdir())
    strangers = [sorted(person.iterdir())[0] for person in people]
    assert len(strangers) == 24
    named = [photo for photo in strangers if name_of(photo) is not None]
    # The default budget names one stranger in a hundred: more than two of 24 has chance .002.
    assert len(named) <= 2


def test_an_empty_gallery_names_nobody(
    synthetic_set: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(sface_bundle)
    release = bundle.release
    empty = Gallery.create(tmp_path / "g", release.contract_id, release.embedding_size)
    photo = synthetic_set / "album" / "scene_001.jpg"
    summary = identify(photo, empty, bundle, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "faces.parquet").to_pylist()
    assert summary.faces == len(rows) > 0
    assert {(row["decision"], row["reason"], row["person"]) for row in rows} == {
        ("unknown", "gallery_empty", None)
    }
