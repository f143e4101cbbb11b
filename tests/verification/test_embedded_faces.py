"""The verifier is fitted on whole people, at most so many faces."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.verification.embedded_faces import SplitFaces, at_most, photo_sources


def split_of(counts: list[int]) -> SplitFaces:
    persons = np.repeat([f"p{number}" for number in range(len(counts))], counts)
    return SplitFaces(np.arange(len(persons)), persons, persons)


def test_whole_people_are_kept_up_to_the_limit():
    split = split_of([3] * 20)
    kept = at_most(split, 10, seed=1)
    people, counts = np.unique(kept.persons, return_counts=True)
    assert len(people) == 3
    assert set(counts) == {3}
    assert np.array_equal(split.persons[kept.rows], kept.persons)


def test_the_draw_is_seeded_and_not_made_when_all_fit():
    first, again, other = (at_most(split_of([2] * 30), 20, seed).persons for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    split = split_of([4, 5, 6])
    assert len(at_most(split, 100, seed=1).persons) == 15
    assert len(np.unique(at_most(split, 1, seed=1).persons)) == 2  # in any case


def test_photos_have_the_source_of_the_manifest_and_all_others_one_name(tmp_path):
    manifest = tmp_path / "manifest.parquet"
    paths = np.array(["b/1.jpg", "a/1.jpg", "new/1.jpg"])
    with pytest.raises(FaceOpsError, match=r"manifest\.parquet does not exist"):
        photo_sources(manifest, paths)
    table = {"path": ["a/1.jpg", "b/1.jpg", "c/1.jpg"], "source": ["", "lfw", "tree"]}
    pq.write_table(pa.table(table), manifest)
    assert photo_sources(manifest, paths).tolist() == ["lfw", "data/photos", "data/photos"]
