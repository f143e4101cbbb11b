"""The service finds what `faceops identify` finds; bad photos and requests get a reason."""

import base64
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.reasons import Reason
from faceops.faces.find_faces import find_in_photo
from faceops.gallery.store import Gallery
from faceops.identification.inputs import DETAIL
from faceops.identification.run import identify
from faceops.release.bundle import Bundle
from faceops.release.served_interface import DEFAULTS
from faceops.serving import PhotoService, RequestParams
from faceops.serving.pyfunc import PhotoModel, RequestError
from tests.hostile_corpus import KINDS, LIMITS, OPENED, make
from tests.serving.posted import posted

FACES, NAMES, EMBEDDINGS = (
    RequestParams.of({"answer": a}) for a in ("faces", "names", "embeddings")
)
RECORDED = (
    *("x", "y", "width", "height", "detector_score", "quality", "decision", "person"),
    *("runner_up", "reason"),
)
NO_FILES = ("pipe", "socket", "gone", "folder", "dangling link", "link to itself")


@pytest.fixture(scope="session")
def service(bundle: Bundle, gallery_dir: Path) -> PhotoService:
    """Serves the six synthetic people."""
    return PhotoService(bundle, gallery_dir)


@pytest.fixture
def scene_file(synthetic_set: Path) -> Path:
    """A photo with faces."""
    return min((synthetic_set / "album").glob("scene_*.jpg"))


@pytest.fixture
def scene(scene_file: Path) -> str:
    """That photo, as it is posted."""
    return posted(scene_file)


def test_a_posted_album_gets_the_rows_of_a_run_over_the_folder(
    service, album, gallery, bundle, tmp_path
):
    summary = identify(album, gallery, bundle, tmp_path / "out")
    lines = (tmp_path / "out/faces.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    photos = sorted(path for path in album.rglob("*") if path.is_file())
    answers = service.answer([posted(photo) for photo in photos], NAMES)
    for photo, answer in zip(photos, answers, strict=True):
        rows = [r for r in records if r["photo_path"] == photo.relative_to(album).as_posix()]
        if rows[0]["face_index"] is None:
            assert answer["faces"] == [] and answer["reason"] == rows[0]["reason"]
            assert answer["reason"] == "no_face" or answer["message"].endswith(".")
            continue
        assert answer["reason"] is None and answer["photo_id"] == rows[0]["photo_id"]
        assert answer["threshold"] == summary.threshold
        for face, row in zip(answer["faces"], rows, strict=True):
            assert {key: face[key] for key in RECORDED} == {key: row[key] for key in RECORDED}
            assert face["distance"] == pytest.approx(row["distance"], abs=1e-4)
            assert face["probability"] == pytest.approx(row["probability"], abs=1e-4)
    people = [face["person"] for answer in answers for face in answer["faces"]]
    assert sum(person is not None for person in people) == summary.identified > 3
    assert {answer["reason"] for answer in answers} >= {None, "empty", "not_a_photo", "unreadable"}


def test_served_and_batch_look_at_the_same_detail():
    assert DEFAULTS["detail"] == DETAIL


def test_one_person_is_named_once_in_a_photo(service, synthetic_set):
    portrait = Image.open(sorted((synthetic_set / "enrol").rglob("*.jpg"))[0])
    width, height = portrait.size
    pair = Image.new("RGB", (2 * width, height))
    pair.paste(portrait, (0, 0))
    pair.paste(portrait.resize((width - 6, height - 6)), (width, 0))
    buffer = io.BytesIO()
    pair.save(buffer, "PNG")
    (answer,) = service.answer([posted(buffer.getvalue())], NAMES)
    decided = sorted((face["decision"], face["reason"]) for face in answer["faces"])
    assert decided == [("identified", None), ("unknown", "ambiguous")]


def test_embeddings_equal_those_of_the_release(service, bundle, scene_file):
    (answer,) = json.loads(json.dumps(service.answer([posted(scene_file)], EMBEDDINGS)))
    served = np.array([face["embedding"] for face in answer["faces"]], np.float32)
    faces = find_in_photo(scene_file, bundle.face_finder(DETAIL)).faces
    assert np.array_equal(served, bundle.embed(np.stack([face.crop for face in faces])).embeddings)
    landmarks = np.array([face["landmarks"] for face in answer["faces"]])
    np.testing.assert_allclose(landmarks, [f.detection.landmarks for f in faces], atol=0.006)
    assert answer["contract_id"] == bundle.release.contract_id
    assert not {"person", "decision"} & set(answer["faces"][0])


def test_every_hostile_file_gets_its_reason_and_the_others_are_answered(bundle, tmp_path, scene):
    contents, expected = [], []
    for number, (kind, (_, reason)) in enumerate(KINDS.items()):
        if kind not in NO_FILES:
            make(kind, tmp_path / str(number))
            contents.append((tmp_path / str(number)).read_bytes())
            expected.append(str(Reason.NO_FACE if reason == OPENED else reason))
    service = PhotoService(bundle, limits=LIMITS)
    *answers, last = service.answer([*map(posted, contents), scene], FACES)
    assert [answer["reason"] for answer in answers] == expected
    assert all(str(tmp_path) not in str(answer["message"]) for answer in answers)
    assert last["reason"] is None and last["faces"]


def test_a_text_that_is_too_large_is_not_decoded(bundle):
    text = "A" * (LIMITS.max_bytes * 4 // 3) + "!no base64!!"
    (answer,) = PhotoService(bundle, limits=LIMITS).answer([text], FACES)
    assert (answer["reason"], answer["photo_id"]) == ("too_large", None)
    assert "over the limit of 0.2" in answer["message"]


def test_base64_may_be_broken_into_lines(service, scene):
    lines = base64.encodebytes(base64.b64decode(scene)).decode().replace("\n", "\r\n")
    assert service.answer([lines], FACES) == service.answer([scene], FACES)


@pytest.mark.parametrize(
    "image", [None, 3, b"/9j/", "no, base64", "/9j", "\xe9", "data:image/jpeg;base64,/9j/", "/9j_"]
)
def test_a_row_without_base64_is_named(service, scene, image):
    with pytest.raises(UsageError, match=r"^row 1 of the column image .*base64.*\.$"):
        service.answer([scene, image], FACES)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"answer": "foo"}, "answer is 'foo'; ask for faces, names or embeddings."),
        ({"budget": 1.0}, "budget is 1; give a share of strangers between 0 and 1"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"detail": -1}, "detail is -1; give pixels from 0 to 20000."),
    ],
)
def test_a_wrong_parameter_is_named(params, sentence):
    with pytest.raises(UsageError) as caught:
        RequestParams.of(params)
    assert sentence in str(caught.value)


def test_a_budget_that_the_release_does_not_support_is_refused(service, scene):
    with pytest.raises(UsageError, match="is not supported by"):
        service.answer([scene], RequestParams.of({"answer": "names", "budget": 1e-6}))


def test_without_a_gallery_nobody_can_be_named(bundle, scene):
    with pytest.raises(UsageError, match="FACEOPS_GALLERY"):
        PhotoService(bundle).answer([scene], NAMES)


def test_a_gallery_of_another_release_is_an_error_of_the_server(
    next_bundle, gallery_dir, tmp_path, scene
):
    other = Bundle.load(next_bundle)
    for folder, sentence in ((gallery_dir, "people reembed"), (tmp_path, "is not a gallery")):
        service = PhotoService(other, folder)
        assert service.answer([scene], FACES)[0]["faces"]
        with pytest.raises(FaceOpsError, match=sentence) as caught:
            service.answer([scene], NAMES)
        assert not isinstance(caught.value, UsageError)


def test_gallery_changes_apply_from_the_next_request(bundle, gallery_dir, tmp_path, album):
    folder = Path(shutil.copytree(gallery_dir, tmp_path / "gallery"))
    service = PhotoService(bundle, folder)
    photos = [posted(path) for path in sorted((album / "scenes").iterdir())[:4]]

    def named() -> set[str]:
        faces = [f for answer in service.answer(photos, NAMES) for f in answer["faces"]]
        return {face["person"] for face in faces} - {None}

    gone = sorted(named())[0]
    enrolled = Gallery.open(folder)
    enrolled.without(np.array([face.person == gone for face in enrolled.faces], bool)).save()
    assert named() and gone not in named()
    enrolled.without(np.ones(len(enrolled.faces), bool)).save()
    (answer,) = service.answer(photos[:1], NAMES)
    assert {face["reason"] for face in answer["faces"]} <= {"gallery_empty", "low_quality"}


def test_concurrent_requests_get_the_same_answers(service, album):
    photos = [[posted(path)] for path in sorted(album.rglob("*.jpg"))[-4:]]
    alone = [service.answer(photo, NAMES) for photo in photos]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda photo: service.answer(photo, NAMES), photos))
    assert together == alone


@pytest.mark.parametrize("fails", ["photos.open_photo.np.empty", "faces.find_faces.align"])
def test_a_shortage_is_an_error_of_the_server(fails, service, scene, monkeypatch):
    def no_memory(*_: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"faceops.{fails}", no_memory)
    with pytest.raises(RequestError, match="memory") as caught:
        PhotoModel(service).predict({"image": [scene]})
    assert caught.value.get_http_status_code() == 503
