"""A gallery follows the model: its faces are embedded again from their crops, all or none."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.check import repair_gallery
from faceops.gallery.enrol import enrol
from faceops.gallery.reembed import reembed
from faceops.gallery.storage import COPY_FOLDER, GALLERY_FILE, GalleryPlace, crop_path
from faceops.gallery.store import Gallery, load_crop
from faceops.release.bundle import Bundle
from tests.gallery.gallery_files import Killed, rewrite_as_format_1


@pytest.fixture(scope="module")
def new(next_bundle: Path) -> Bundle:
    """A release with another embedder than `bundle`."""
    return Bundle.load(next_bundle)


@pytest.fixture(scope="module")
def enrolled(gallery_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of three people with an earlier name."""
    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    shutil.copytree(gallery_dir, folder, ignore=shutil.ignore_patterns("outputs.jsonl"))
    gallery = Gallery.open(folder)
    others = np.array([face.person in gallery.people[3:] for face in gallery.faces], bool)
    gallery.without(others).with_aliases({"old name": gallery.people[0]}).save()
    return folder


@pytest.fixture
def people(synthetic_set: Path, tmp_path: Path) -> Path:
    """The folder of these people."""
    folder = tmp_path / "people"
    folder.mkdir()
    for path in sorted((synthetic_set / "enrol").iterdir())[:3]:
        (folder / path.name).symlink_to(path, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def reembedded(enrolled: Path, new: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That gallery under the contract of `new`."""
    folder = Path(shutil.copytree(enrolled, tmp_path_factory.mktemp("reembedded") / "gallery"))
    reembed(folder, new)
    return folder


@pytest.fixture
def folder(enrolled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(enrolled, tmp_path / "gallery"))


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


def crops_of(folder: Path, gallery: Gallery) -> np.ndarray:
    return np.stack([load_crop(gallery.storage.png, face.crop_id) for face in gallery.faces])


def state(folder: Path, **changes: object) -> None:
    """Change what gallery.json states (None removes a key)."""
    stated = {**json.loads((folder / GALLERY_FILE).read_text("utf-8")), **changes}
    text = json.dumps({key: value for key, value in stated.items() if value is not None})
    for path in (folder / GALLERY_FILE, folder / COPY_FOLDER / GALLERY_FILE):
        path.write_text(text, "utf-8")


def test_a_gallery_follows_the_model_and_back(enrolled, reembedded, bundle, new, tmp_path):
    before = Gallery.open(enrolled, bundle.release.contract_id)
    with pytest.raises(FaceOpsError, match="faceops people reembed --gallery"):
        Gallery.open(enrolled, new.release.contract_id)
    folder = Path(shutil.copytree(reembedded, tmp_path / "gallery"))
    after = Gallery.open(folder, new.release.contract_id)
    assert after.aliases == before.aliases and after.crops_id == before.crops_id
    for one, other in zip(before.faces, after.faces, strict=True):
        changed = replace(one, embedding=other.embedding, quality=other.quality)
        assert changed.__dict__ == other.__dict__
        assert 0 < abs(one.quality - other.quality) < 0.2
    np.testing.assert_allclose(after.embeddings, new.embed(crops_of(folder, after))[0], atol=1e-6)
    assert np.abs(after.embeddings - before.embeddings).max() > 1e-3
    with pytest.raises(FaceOpsError, match="under contract"):
        Gallery.open(folder, bundle.release.contract_id)
    done = reembed(folder, bundle)
    assert (done.embedded, done.people) == (len(before.faces), 3)
    # Enrolment embeds a person's photos at once, this whole blocks: the last digit may differ.
    back = Gallery.open(folder, bundle.release.contract_id)
    np.testing.assert_allclose(back.embeddings, before.embeddings, atol=1e-6)
    qualities = ([face.quality for face in one.faces] for one in (back, before))
    np.testing.assert_allclose(*qualities, atol=1e-5)


@pytest.mark.parametrize("kind", ["format 1", "database"])
def test_a_gallery_of_another_kind_follows_the_model(kind, request, folder, new, reembedded):
    place: GalleryPlace = folder
    if kind == "format 1":
        rewrite_as_format_1(folder)
    else:
        place = request.getfixturevalue("postgres_server").new_gallery()
        export_gallery(folder, folder.with_suffix(".tar"))
        import_gallery(folder.with_suffix(".tar"), place)
    assert reembed(place, new).embedded == len(Gallery.open(place).faces)
    after, expected = Gallery.open(place, new.release.contract_id), Gallery.open(reembedded)
    assert after.statement() == expected.statement()
    assert after.faces.columns.equals(expected.faces.columns)
    np.testing.assert_array_equal(after.embeddings, expected.embeddings)
    assert reembed(place, new).embedded == 0


def test_the_command_makes_damaged_embeddings_again_from_their_crops(folder, sface_bundle, capsys):
    gallery = Gallery.open(folder)
    first, *others = gallery.faces
    wrong = replace(first, embedding=np.full_like(first.embedding, 1e30))
    damaged = replace(gallery, faces=(wrong, *others))
    damaged.save()
    faces, embeddings = len(gallery.faces), gallery.embeddings
    command = ["people", "reembed", "--gallery", str(folder), "--bundle", str(sface_bundle)]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["embedded"], printed["faces"], printed["people"]) == (faces, faces, 3)
    np.testing.assert_allclose(Gallery.open(folder).embeddings, embeddings, atol=1e-5)
    assert main(command) == 0
    assert f"nothing to do: the {faces} faces" in capsys.readouterr().out
    damaged.save()
    assert main(command) == 0
    assert f"{faces} faces of" in capsys.readouterr().out


def test_crops_of_another_alignment_version_are_embedded(folder, bundle, new):
    alignment = bundle.release.alignment.model_copy(update={"version": 1})
    earlier = bundle.release.model_copy(update={"alignment": alignment})
    state(folder, crops_id=earlier.crops_id)
    assert earlier.crops_id != new.release.crops_id
    assert reembed(folder, new).embedded == len(Gallery.open(folder).faces)
    assert Gallery.open(folder).crops_id == earlier.crops_id  # the crops are the same


def test_crops_that_were_cut_in_another_way_are_refused(folder, new):
    state(folder, crops_id="e" * 64)
    before = content_of(folder)
    with pytest.raises(FaceOpsError, match=r"cut in another way .* enrol the people from"):
        reembed(folder, new)
    assert content_of(folder) == before


@pytest.mark.parametrize("by", ["reembed", "enrol"])
def test_a_gallery_that_does_not_state_how_its_crops_were_made_learns_it_from_its_own_release(
    folder, bundle, new, people, by
):
    state(folder, crops_id=None)
    contract = bundle.release.contract_id[:12]
    with pytest.raises(FaceOpsError, match=f"was enrolled with .contract {contract}"):
        reembed(folder, new)
    if by == "enrol":
        enrol(people, folder, bundle)
    else:
        assert reembed(folder, bundle).noted
    assert reembed(folder, new).embedded == len(Gallery.open(folder).faces)


@pytest.mark.parametrize("crop", [b"\x89PNG\r\n\x1a\nhalf", None])
def test_damaged_and_missing_crops_are_named_and_nothing_is_changed(folder, new, crop):
    gallery = Gallery.open(folder)
    for face in list(gallery.faces)[:7]:
        path = crop_path(folder, face.crop_id)
        path.unlink()
        if crop is not None:
            path.write_bytes(crop)
    before = content_of(folder)
    first, count = gallery.faces[0], len(gallery.faces)
    named = f"7 of {count} crops .*{first.person} .{first.photo}.* and 2 more"
    with pytest.raises(FaceOpsError, match=named):
        reembed(folder, new)
    assert content_of(folder) == before


def test_after_a_repair_lost_crops_are_enrolled_again_or_left_out(folder, bundle, new, people):
    gallery = Gallery.open(folder)
    lost, left = gallery.faces[3], len(gallery.faces) - 1
    crop_path(folder, lost.crop_id).unlink()
    assert not any(finding.is_damage for finding in repair_gallery(folder).after)
    other = Path(shutil.copytree(folder, folder.with_name("other")))
    report = enrol(people, folder, bundle)
    assert (report.enrolled, report.unchanged) == (1, left)
    again = Gallery.open(folder)
    assert again.persons == gallery.persons and again.faces[3].crop_id == lost.crop_id
    assert enrol(people, folder, bundle).enrolled == 0
    done = reembed(other, new)
    assert (done.embedded, done.left_out) == (left, (f"{lost.person} ({lost.photo})",))
    assert len(Gallery.open(other).faces) == left


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


@pytest.mark.parametrize(("step", "is_new"), [(2, False), (8, False), (9, True)])
def test_killed_at_any_step_the_contract_is_that_of_the_embeddings(
    folder, bundle, new, reembedded, kill, step, is_new
):
    kill[0] = step
    with pytest.raises(Killed):
        reembed(folder, new)
    kill[0] = 0
    release = new if is_new else bundle
    gallery = Gallery.open(folder, release.release.contract_id)
    embeddings = release.embed(crops_of(folder, gallery))[0]
    np.testing.assert_allclose(gallery.embeddings, embeddings, atol=1e-6)
    assert gallery.aliases and len(gallery.people) == 3
    assert reembed(folder, new).embedded == (0 if is_new else len(gallery.faces))
    assert content_of(folder) == content_of(reembedded)
    kill[0] = 1
    assert reembed(folder, new).embedded == 0  # and writes nothing at all
