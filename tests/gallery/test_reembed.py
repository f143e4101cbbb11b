"""A gallery follows the model: its faces are embedded anew from their crops, all or none."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.cli import main
from faceops.gallery.enrol import enrol
from faceops.gallery.reembed import reembed
from faceops.gallery.store import FACES_FILE, GALLERY_FILE, Gallery, crop_of
from faceops.release.bundle import Bundle


@pytest.fixture(scope="module")
def old(sface_bundle: Path) -> Bundle:
    """The release that the gallery was enrolled with."""
    return Bundle.load(sface_bundle)


@pytest.fixture(scope="module")
def new(next_bundle: Path) -> Bundle:
    """One with another embedder."""
    return Bundle.load(next_bundle)


@pytest.fixture(scope="module")
def enrolled(synthetic_set: Path, old: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    enrol(synthetic_set / "enrol", folder, old)
    gallery = Gallery.open(folder, crops=True)
    gallery.with_aliases({"old name": gallery.people[0]}).save()
    return folder


@pytest.fixture
def folder(enrolled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(enrolled, tmp_path / "gallery"))


def content_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (FACES_FILE, GALLERY_FILE)}


def states(folder: Path, **changes: object) -> None:
    """Make both files state other things about the contract; None takes a key away."""
    statement = json.loads((folder / GALLERY_FILE).read_text("utf-8"))
    stated = {**statement, **changes}
    (folder / GALLERY_FILE).write_text(
        json.dumps({key: value for key, value in stated.items() if value is not None}), "utf-8"
    )
    table = pq.read_table(folder / FACES_FILE)
    pq.write_table(table.replace_schema_metadata(None), folder / FACES_FILE)


def with_crop(folder: Path, rows: int, crop: bytes | None) -> None:
    """Put `crop` in place of the crops of the first faces."""
    table = pq.read_table(folder / FACES_FILE)
    crops = [crop] * rows + table["crop"].to_pylist()[rows:]
    column = table.schema.get_field_index("crop")
    table = table.set_column(column, "crop", pa.array(crops, pa.binary()))
    pq.write_table(table, folder / FACES_FILE)


def test_a_gallery_follows_the_model(folder: Path, old: Bundle, new: Bundle) -> None:
    before = Gallery.open(folder, old.release.contract_id, crops=True)
    with pytest.raises(FaceOpsError, match="faceops people reembed --gallery"):
        Gallery.open(folder, new.release.contract_id)
    done = reembed(folder, new)
    assert (done.embedded, done.people) == (17, 6)
    after = Gallery.open(folder, new.release.contract_id, crops=True)
    assert after.aliases == before.aliases and after.crops_id == before.crops_id
    for one, other in zip(before.faces, after.faces, strict=True):
        assert replace(one, embedding=other.embedding).__dict__ == other.__dict__
    crops = np.stack([crop_of(face.crop) for face in before.faces])
    np.testing.assert_allclose(after.embeddings, new.embed(crops), atol=1e-6)
    assert np.abs(after.embeddings - before.embeddings).max() > 1e-3
    with pytest.raises(FaceOpsError, match="under contract"):
        Gallery.open(folder, old.release.contract_id)


def test_there_and_back_gives_the_same_bytes(folder: Path, old: Bundle, new: Bundle) -> None:
    before = content_of(folder)
    reembed(folder, new)
    assert content_of(folder) != before
    reembed(folder, old)
    gallery = Gallery.open(folder, old.release.contract_id, crops=True)
    assert np.isfinite(gallery.embeddings).all()
    # Enrolment embeds a person's photos at once, this whole blocks: the last digit may differ.
    earlier = pq.read_table(pa.BufferReader(before[FACES_FILE]))
    later = pq.read_table(folder / FACES_FILE)
    assert earlier.drop_columns("embedding") == later.drop_columns("embedding")
    for one, other in zip(
        earlier["embedding"].to_pylist(), later["embedding"].to_pylist(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (folder / GALLERY_FILE).read_bytes() == before[GALLERY_FILE]


def test_the_command_says_what_it_did(
    folder: Path, next_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["people", "reembed", "--gallery", str(folder), "--bundle", str(next_bundle)]
    assert main(command) == 0
    assert "17 faces of 6 people embedded anew" in capsys.readouterr().out
    done = content_of(folder)
    assert main(command) == 0
    assert "nothing to do: the 17 faces" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["embedded"], told["faces"]) == (0, 17)
    assert content_of(folder) == done


def test_crops_that_were_cut_in_another_way_are_refused(folder: Path, new: Bundle) -> None:
    states(folder, crops_id="e" * 64)
    before = content_of(folder)
    with pytest.raises(FaceOpsError, match=r"cut in another way .* enrol the people from"):
        reembed(folder, new)
    assert content_of(folder) == before


def test_a_gallery_of_before_learns_from_its_own_release_how_its_crops_were_made(
    folder: Path, old: Bundle, new: Bundle, sface_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states(folder, crops_id=None)
    with pytest.raises(
        FaceOpsError, match=rf"was enrolled with .contract {old.release.contract_id[:12]}"
    ):
        reembed(folder, new)
    command = ["people", "reembed", "--gallery", str(folder), "--bundle", str(sface_bundle)]
    assert main(command) == 0
    assert "is noted now" in capsys.readouterr().out
    assert reembed(folder, new).embedded == 17


def test_enrolling_more_notes_it_too(
    folder: Path, old: Bundle, new: Bundle, synthetic_set: Path
) -> None:
    states(folder, crops_id=None)
    enrol(synthetic_set / "enrol", folder, old)
    assert reembed(folder, new).embedded == 17


@pytest.mark.parametrize("crop", [b"", b"\x89PNG\r\n\x1a\nhalf", None])
def test_a_damaged_crop_is_named_and_nothing_is_changed(
    folder: Path, new: Bundle, crop: bytes | None
) -> None:
    gallery = Gallery.open(folder)
    with_crop(folder, 7, crop)
    before = content_of(folder)
    named = f"7 of 17 crops .*{gallery.faces[0].person} .{gallery.faces[0].photo}.* and 2 more"
    with pytest.raises(FaceOpsError, match=named):
        reembed(folder, new)
    assert content_of(folder) == before


def test_a_gallery_in_use_is_refused(folder: Path, new: Bundle) -> None:
    with folder_lock(folder), pytest.raises(FaceOpsError, match="in use by another"):
        reembed(folder, new)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """End the process before its n-th write or rename, a write halfway; n is in the list."""
    steps = [0]
    write, rename = Path.write_bytes, Path.replace

    def step() -> bool:
        steps[0] -= 1
        return steps[0] == 0

    def write_bytes(path: Path, content: bytes) -> int:
        if step():
            write(path, content[: len(content) // 2])
            raise Killed
        return write(path, content)

    def replace_file(path: Path, target: Path) -> Path:
        if step():
            raise Killed
        return rename(path, target)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(Path, "replace", replace_file)
    yield steps
    monkeypatch.undo()


@pytest.mark.parametrize(("step", "is_new"), [(1, False), (2, False), (3, True), (4, True)])
def test_killed_at_any_step_the_contract_is_that_of_the_embeddings(
    folder: Path, old: Bundle, new: Bundle, tmp_path: Path, kill: list[int], step: int, is_new: bool
) -> None:
    undisturbed = Path(shutil.copytree(folder, tmp_path / "undisturbed"))
    reembed(undisturbed, new)
    kill[0] = step
    with pytest.raises(Killed):
        reembed(folder, new)
    kill[0] = 0
    release = new if is_new else old
    gallery = Gallery.open(folder, release.release.contract_id, crops=True)
    crops = np.stack([crop_of(face.crop) for face in gallery.faces])
    np.testing.assert_allclose(gallery.embeddings, release.embed(crops), atol=1e-6)
    assert gallery.aliases and len(gallery.people) == 6
    assert reembed(folder, new).embedded == (0 if is_new else 17)
    assert content_of(folder) == content_of(undisturbed)
    kill[0] = 1
    assert reembed(folder, new).embedded == 0  # and writes nothing at all
