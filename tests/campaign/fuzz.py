"""Damaged input: whatever the bytes are, the answer is a result or one sentence.

    python -m tests.campaign.fuzz --work DIR --minutes 60 photos
    python -m tests.campaign.fuzz --work DIR                       # every target, briefly

Hypothesis damages valid files (bits, lengths, cut and repeated parts, numbers at their limits) and
shrinks what fails. A crash of the interpreter ends the command with the signal; the damaged bytes
are then in DIR/input.
"""

import argparse
import base64
import contextlib
import faulthandler
import io
import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.faces.regions import embedded_regions, upright_box
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.storage import GALLERY_FILE, SEGMENTS_FOLDER
from faceops.gallery.store import Gallery, open_or_create
from faceops.identification.sidecars import NamedRegion, names_of_ours, remove_person, write_sidecar
from faceops.photos.formats import FORMATS, PhotoLimits
from faceops.photos.open_photo import PhotoError, decode_photo
from faceops.photos.photo_header import read_header
from faceops.photos.xmp import Area, XmpDocument
from faceops.release.contract import read_release
from faceops.release.release_file import RELEASE_FILE
from tests.tagged_photos import FORMATS as FORMATS_WITH_TAGS
from tests.tagged_photos import STYLES, save

Check = Callable[[bytes], None]
Target = Callable[[Path], "tuple[list[bytes], Check]"]

EDGES = [b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01"]
PIECES = [*EDGES, b"<", b"&#x", b'"', b"null", b"-1", b"1e999", b"NaN", b"[[", b"{}", b"\xc3\x28"]
EXAMPLES = 100  # of one seed
LIMITS = PhotoLimits(max_pixels=4_000_000, max_bytes=2_000_000)


@st.composite
def damaged(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """Draw one of `valid`, with up to eight changes."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(1, 64))
        match draw(st.integers(0, 6)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                piece = draw(st.sampled_from(PIECES))
                data[at : at + len(piece)] = piece
            case 2:
                data[at:at] = draw(st.sampled_from(PIECES))
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * draw(st.integers(1, 4))
            case 5:
                del data[at:]
            case _:
                data[at : at + length] = draw(st.binary(min_size=1, max_size=length))
    return bytes(data)


def photos(work: Path) -> tuple[list[bytes], Check]:
    """Return photos of each format that can be written here, and what opens them."""
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for each in FORMATS:
        for options in ({}, {"exif": exif}):
            with contextlib.suppress(ImportError, KeyError, OSError, ValueError, TypeError):
                each.register()
                buffer = io.BytesIO()
                picture.save(buffer, each.name, **options)
                files.append(buffer.getvalue())

    def check(content: bytes) -> None:
        with contextlib.suppress(PhotoError):
            photo = decode_photo(content, Path("photo"), LIMITS)
            assert photo.pixels.dtype == np.uint8 and photo.pixels.shape[2] == 3
            assert photo.pixels.shape[:2] == photo.size[::-1]

    return files, check


ADA = NamedRegion((20.0, 10.0, 40.0, 50.0), "Ada & <Lovelace>")


def sidecars(work: Path) -> tuple[list[bytes], Check]:
    """Return sidecars, and what adds a face to them and removes it again."""
    path = work / "photo.jpg.xmp"
    path.unlink(missing_ok=True)
    write_sidecar(path, [NamedRegion((100.0, 20.0, 30.0, 30.0), "Ben")], (200, 100), 1)
    text = path.read_text("utf-8")
    body = text.partition("?>")[2]
    others = body.replace("Ben", "Zoë &#228; &amp;").replace("urn:faceops", "urn:others")
    entity = body.replace("<x:xmpmeta", '<!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta', 1)
    wide = f'<?xml version="1.0" encoding="utf-16"?>{others}'.encode("utf-16")
    files = [text.encode(), body.encode(), others.encode(), entity.encode(), wide]

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            write_sidecar(path, [ADA], (200, 100), 6)
        except FaceOpsError:
            assert path.read_bytes() == content, "a refused sidecar was changed"
            return
        assert not write_sidecar(path, [ADA], (200, 100), 6), "written twice, it changes again"
        names_of_ours(XmpDocument(path.read_bytes()))
        remove_person(path, lambda name: name == ADA.person)
        assert not path.exists() or ADA.person not in names_of_ours(XmpDocument(path.read_bytes()))

    return files, check


def tags(work: Path) -> tuple[list[bytes], Check]:
    """Return photos of each format with tags in each style, and what reads the tags."""
    path, area = work / "photo", Area(0.5, 0.4, 0.3, 0.3)
    files = []
    for suffix, style in itertools.product(FORMATS_WITH_TAGS, STYLES.values()):
        tagged = work / f"tagged{suffix}"
        packet = style([("Zoë & <b>", area), ("Ben", area)], (64, 48))
        save(Image.new("RGB", (48, 64)), tagged, packet, 6)
        files.append(tagged.read_bytes())

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(PhotoError):
            header = read_header(path, LIMITS)
            for region in embedded_regions(header):
                if region.area is not None:
                    box = upright_box(region.area, header.size, header.orientation)
                    assert np.isfinite(box).all() and min(box[2:]) >= 0

    return files, check


def small_gallery(folder: Path) -> Gallery:
    """Make a gallery of three people with random embeddings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = np.random.default_rng(2)
    gallery = open_or_create(folder, "c" * 64, 16, "crops")
    faces = [
        GalleryFace(
            person=name,
            photo_id=f"{number:064x}",
            photo=f"{name}/{number}.jpg",
            box=(1.0, 2.0, 30.0, 40.0),
            detector_score=0.9,
            quality=0.8,
            embedding=random.standard_normal(16).astype(np.float32),
            crop_id=f"{number:064x}",
        )
        for number, name in enumerate(["Ada", "Ben", "Zoë"])
    ]
    gallery.with_faces(faces).save()
    return Gallery.open(folder)


def _gallery_file(work: Path, pattern: str) -> tuple[list[bytes], Check]:
    folder = work / "gallery"
    small_gallery(folder)
    (path,) = folder.glob(pattern)

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(FaceOpsError):
            gallery = Gallery.open(folder)
            assert gallery.embeddings.shape == (len(gallery.faces), gallery.embedding_size)
            assert all(isinstance(person, str) for person in gallery.people)

    return [path.read_bytes()], check


def gallery_parquet(work: Path) -> tuple[list[bytes], Check]:
    """Return the file of faces, and what opens the gallery."""
    return _gallery_file(work, f"{SEGMENTS_FOLDER}/*.parquet")


def gallery_json(work: Path) -> tuple[list[bytes], Check]:
    """Return gallery.json, and what opens the gallery."""
    return _gallery_file(work, GALLERY_FILE)


def release_json(work: Path) -> tuple[list[bytes], Check]:
    """Return release.json, and what reads it."""
    folder = work / "release"
    folder.mkdir(exist_ok=True)
    content = (work / "parts" / "bundle" / RELEASE_FILE).read_bytes()

    def check(content: bytes) -> None:
        (folder / RELEASE_FILE).write_bytes(content)
        with contextlib.suppress(FaceOpsError):
            read_release(folder)

    return [content], check


def http_bodies(work: Path) -> tuple[list[bytes], Check]:
    """Return requests, and what posts them to MLflow's scoring server of a release."""
    import mlflow
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    from faceops.release.served_interface import example_photo, signature

    model = work / "model"
    if not model.is_dir():
        mlflow.pyfunc.save_model(
            model,
            loader_module="faceops.serving.pyfunc",
            data_path=str(work / "parts" / "bundle"),
            signature=signature(),
            pip_requirements=[],
        )
    client = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(model))))
    image = base64.b64encode(example_photo()).decode()
    bodies: list[object] = [
        {"dataframe_split": {"columns": ["image"], "data": [[image]]}},
        {"dataframe_records": [{"image": image}], "params": {"answer": "embeddings"}},
        {"inputs": {"image": [image]}, "params": {"detail": 0, "budget": 0.2}},
        {"instances": [{"image": "text"}]},
    ]

    def check(content: bytes) -> None:
        answer = client.post(
            "/invocations", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (200, 400), f"{answer.status_code}: {answer.text[:2000]}"
        json.loads(answer.content)

    return [json.dumps(body).encode() for body in bodies], check


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (photos, sidecars, tags, gallery_parquet, gallery_json, release_json, http_bodies)
}


def fuzz(target: Target, work: Path, minutes: float, start: int = 0) -> int:
    """Check damaged inputs for so many minutes, at least those of one seed; return how many.

    Raises:
        what the check raised, with the smallest input that hypothesis found.
    """
    files, check = target(work)
    end, count = time.monotonic() + minutes * 60, 0

    def one(content: bytes) -> None:
        nonlocal count
        count += 1
        (work / "input").write_bytes(content)
        check(content)

    for number in _seeds(start, end):
        run = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(seed(number)(given(damaged(files))(one)))
        run()
    return count


def _seeds(start: int, end: float) -> Iterator[int]:
    yield start
    while time.monotonic() < end:
        start += 1
        yield start


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets one after the other; a failure raises."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for files")
    parser.add_argument("--minutes", type=float, default=0, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("target", nargs="*", metavar=f"{{{','.join(TARGETS)}}}")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    from tests.campaign.world import make_parts

    make_parts(options.work / "parts")
    for name in options.target or TARGETS:
        count = fuzz(TARGETS[name], options.work, options.minutes, options.seed)
        print(f"{name:<16}{count:>8} inputs, seeds from {options.seed}: nothing wrong", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
