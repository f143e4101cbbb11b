"""Shards of photos: cut, worked on in memory, left in a shared place, taken in once."""

import contextlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli.model_choice import load_release
from faceops.gallery.store import Gallery
from faceops.identification.engine import shards
from faceops.identification.engine.extract import GROUP, extract_shard
from faceops.identification.engine.shards import (
    ReleaseSource,
    Shard,
    ShardJob,
    ShardRun,
    _cut,
    check_worker,
    extract_to_place,
    versions,
    write_shard,
)
from faceops.identification.forget.files import forget_in_state
from faceops.identification.inputs import IdentifySettings, PhotoList, SourceFile, list_photos
from faceops.identification.run import identify
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import Extraction
from faceops.identification.state.schema import Method, add_place, method_of, open_state
from tests.identification.columns import photo
from tests.identification.conftest import count, rows_of

METHOD = Method("finder", "contract")
SOURCE = ReleaseSource(load_release, None, "published", "float32", "contract")


def job_in(place: str, root: str = "/") -> ShardJob:
    return ShardJob(SOURCE, IdentifySettings(), root, place, versions())


def found_in(path: str, seed: int = 0) -> Extraction:
    """A photo with two faces, as an extractor finds it."""
    draw = np.random.default_rng(seed)
    crops = dict(enumerate(draw.integers(0, 256, (2, 112, 112, 3), np.uint8)))
    embeddings = draw.normal(size=(2, 128)).astype(np.float32)
    found = photo(f"photo {seed}", [0.9, 0.8], embeddings)
    found.faces["box"][1] += 500
    found = replace(found, lengths=draw.uniform(9, 12, 2).astype(np.float32))
    return Extraction(path, SourceFile(path, 1, 2, 3, 4), found, opened=True, crops=crops)


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[str], FaceStore]]:
    """Opens stores in files of a folder."""
    with contextlib.ExitStack() as stack:

        def opened(name: str) -> FaceStore:
            (tmp_path / name).mkdir()
            store = FaceStore(tmp_path / name / "state.sqlite", METHOD)
            return stack.enter_context(contextlib.closing(store))

        yield opened


def test_shards_are_whole_groups_and_those_that_are_left_stay_the_same():
    new = np.array([place for place in range(20 * GROUP) if place % 3 or place > 300])
    parts = _cut(new, 2 * GROUP + 1)
    assert np.array_equal(np.concatenate(parts), new)
    assert all(len(shard) >= 2 * GROUP for shard in parts[:-1])
    groups = [set((shard // GROUP).tolist()) for shard in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    left = [shard for number, shard in enumerate(parts) if number not in (0, 3)]
    again = _cut(np.concatenate(left), 2 * GROUP)
    assert all(np.array_equal(one, other) for one, other in zip(again, left, strict=True))
    assert _cut(new[:0], GROUP) == []


def test_the_key_follows_all_that_decides_the_content():
    job, file = job_in("/shared/a"), SourceFile("/photos/\udce9.jpg", 1, 2, 3, 4)
    key = Shard(0, [[file]]).key(job)
    assert Shard(7, [[file]]).key(replace(job, place="/shared/b")) == key
    touched = Shard(0, [[file._replace(mtime_ns=9)]])
    crops = replace(job, settings=IdentifySettings(keep_crops=True))
    other = replace(job, versions="faceops 0")
    keys = {touched.key(job), *(Shard(0, [[file]]).key(one) for one in (crops, other)), key}
    assert len(keys) == 4


@pytest.mark.parametrize("keep_crops", [False, True])
def test_a_file_gives_another_store_the_same_photos_any_number_of_times(
    new_store, tmp_path, keep_crops
):
    worker, driver = new_store("worker"), new_store("driver")
    bad_name = "/photos/\udce9.jpg"
    empty = replace(found_in("/photos/empty.jpg"), photo=photo(None, []), opened=False, crops={})
    worker.save([found_in("/photos/1.jpg", 1), empty, found_in(bad_name)], keep_crops)
    for _ in range(2):
        assert driver.take_in(worker.content())
        for table in ("files", "photos", "embeddings", "lengths", "pictures"):
            tables = []
            for name in ("worker", "driver"):
                with open_state(tmp_path / name / "state.sqlite") as db:
                    tables.append(set(db.execute(f"SELECT * FROM {table}").fetchall()))
            assert tables[0] == tables[1], table


def test_of_a_face_that_was_forgotten_meanwhile_only_the_box_comes_in(new_store, tmp_path):
    worker, driver = new_store("worker"), new_store("driver")
    worker.save([found_in("/photos/0.jpg")])
    with open_state(tmp_path / "driver" / "state.sqlite") as db:
        add_place(db, "photo 0", tuple(found_in("").photo.faces["box"][1].tolist()), "mark")
    assert driver.take_in(worker.content())
    kept = driver.load(["photo 0"])["photo 0"].photo
    assert kept.faces["forgotten"].tolist() == [False, True]
    assert kept.embeddings.any(axis=1).tolist() == [True, False]
    assert np.isnan(kept.lengths).tolist() == [False, True]
    assert count(tmp_path / "driver", "pictures") == 1


@pytest.mark.parametrize("damage", [b"no database", b"", None])
def test_of_a_damaged_file_nothing_is_stored(new_store, tmp_path, damage):
    worker, driver = new_store("worker"), new_store("driver")
    worker.save([found_in(f"/photos/{number}.jpg", number) for number in range(9)])
    content = worker.content()
    torn = content[: len(content) // 2] if damage is None else damage
    assert not driver.take_in(torn)
    assert count(tmp_path / "driver", "files") == 0
    assert driver.take_in(content)


def test_what_an_unfinished_run_left_is_kept_for_the_next_and_removed_by_forgetting(
    new_store, tmp_path
):
    store, shared, out = new_store("out"), tmp_path / "shared", tmp_path / "out"
    photos = [tmp_path / f"{number}.jpg" for number in range(2)]
    for path in photos:
        path.touch()
    with pytest.raises(KeyboardInterrupt), shards.open_place(str(shared), out) as place:
        listed = PhotoList(tmp_path, list(map(str, photos)), {})
        run = ShardRun(job_in(place), listed, store, GROUP)
        shard = run.shard(0)
        write_shard(place, shard.key(run.job), b"no database")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), shards.open_place(str(shared), out) as again:
        left = Path(place, shard.key(run.job))
        assert again == place and left.is_file()
        assert not run.take_in(shard)  # it is damaged
        assert not left.exists()
        write_shard(again, "stale", b"")
        raise KeyboardInterrupt
    shared.rename(tmp_path / "elsewhere")
    with pytest.raises(FaceOpsError, match=r"is not here: connect the disk .*remove .*shards.json"):
        forget_in_state(out, [], "mark")
    (tmp_path / "elsewhere").rename(shared)
    forget_in_state(out, [], "mark")
    assert not list(shared.iterdir()) and not (out / shards.PLACE_FILE).exists()
    with pytest.raises(FaceOpsError, match="its run was ended meanwhile"):
        write_shard(place, "late", b"faces")


def test_a_worker_says_what_it_lacks(tmp_path):
    with pytest.raises(
        FaceOpsError, match=r"there is faceops .*, and the run was started with old"
    ):
        check_worker(replace(job_in("/none"), versions="old"))
    with pytest.raises(FaceOpsError, match=r"/no/photos cannot be read on "):
        check_worker(job_in("/none", "/no/photos"))
    with pytest.raises(FaceOpsError, match=r"/none does not exist on .*--shared names a place"):
        check_worker(job_in("/none"))
    (tmp_path / shards._MARK).write_bytes(b"{}")
    missing = replace(SOURCE, folder=tmp_path / "bundle")
    with pytest.raises(FaceOpsError, match="is not a folder"):
        check_worker(replace(job_in(str(tmp_path)), release=missing))


def test_a_run_after_its_shards_has_the_rows_of_a_run_alone(album, bundle, gallery_dir, tmp_path):
    release, settings = bundle.release, IdentifySettings()
    source = ReleaseSource(load_release, bundle.folder, "", "float32", release.contract_id)
    alone, out = tmp_path / "alone", tmp_path / "out"
    extract_shard(list_photos(album), bundle, alone)
    out.mkdir()
    method = method_of(release, settings.detail)
    with (
        contextlib.closing(FaceStore(out / "state.sqlite", method)) as store,
        shards.open_place(str(tmp_path / "shared"), out) as place,
    ):
        job = replace(job_in(place, str(album)), release=source)
        run = ShardRun(job, list_photos(album), store, GROUP)
        shard = run.shard(0)
        sent = pickle.loads(pickle.dumps((job, shard)))
        assert len(run) == 1 and not run.take_in(shard)
        assert "11 of 12 photos opened, device: cpu" in extract_to_place(*sent)  # one is empty
        assert extract_to_place(*sent) == "it is done already"
        assert run.take_in(shard)
        with pytest.raises(FaceOpsError, match=r"has contract .* where the run was started"):
            check_worker(replace(job, release=replace(source, contract_id="other")))
        assert len(ShardRun(job, list_photos(album), store, GROUP)) == 0
    for folder in (alone, out):
        assert identify(album, Gallery.open(gallery_dir), bundle, folder).photos_opened == 0
    assert rows_of(alone) == rows_of(out)
