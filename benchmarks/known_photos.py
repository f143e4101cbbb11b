"""What runs over many known photos cost: decisions, rows, groups of unknown people, report.

    python -m benchmarks.known_photos --build build --work WORK [--photos 100000]

Made from the embeddings of `build`, a pipeline run on real photos: photos of one face each, and
a gallery of 50 people of two photos. From the second copy of a person on, all embeddings of a copy
are turned around their mean, each time by another random rotation: other people, who resemble each
other as the real ones do. The files are tiny and never opened, and faces have no pictures.

Prints seconds, CPU seconds and peak memory of whole commands. WORK must not exist.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import FACEOPS, timed
from faceops.base.progress import track
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.store import Gallery
from faceops.identification.settings import DETAIL
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.found_photo import FACE, FoundPhoto
from faceops.identification.state.photo_block import Extraction
from faceops.identification.state.presence import source_file
from faceops.identification.state.schema import method_of
from faceops.release.contract import Release, read_release

ENROLLED, STORED_TOGETHER = 50, 1024
BOX = (40.0, 40.0, 90.0, 110.0)


def turned(embeddings: np.ndarray, number: int) -> np.ndarray:
    """Return float32 (N, D) turned around their mean; number 0 gives them as they are."""
    if not number:
        return embeddings
    draw = np.random.default_rng(number)
    size = embeddings.shape[1]
    random = draw.normal(size=(size, size - 1))
    basis = np.linalg.qr(np.column_stack([embeddings.mean(axis=0), random]))[0]
    turn = np.eye(size)
    turn[1:, 1:] = np.linalg.qr(draw.normal(size=(size - 1, size - 1)))[0]
    return (embeddings @ (basis @ turn @ basis.T)).astype(np.float32)


def faces_of(embeddings: np.ndarray, start: int, count: int) -> Iterator[FoundPhoto]:
    """Yield `count` photos from the number `start` on."""
    face = np.array([(BOX, 0.95, 0.7, False)], FACE)
    rows = embeddings
    for number in range(start, start + count):
        copy, row = divmod(number, len(embeddings))
        if row == 0 or number == start:
            rows = turned(embeddings, copy)
        yield FoundPhoto(f"{number:064x}", None, (250, 250), faces=face, embeddings=rows[[row]])


def store_photos(work: Path, release: Release, photos: Iterator[FoundPhoto], total: int) -> None:
    """Write files below `work`/album and store their faces in the state of `work`/found."""
    waiting: list[Extraction] = []
    (work / "found").mkdir(parents=True, exist_ok=True)
    with closing(FaceStore(work / "found" / "state.sqlite", method_of(release, DETAIL))) as store:
        for photo in track(photos, "make photos", total):
            number = int(photo.photo_id or "", 16)
            path = work.resolve() / "album" / f"{number // 1000:04d}" / f"{number:07d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(number))
            file = source_file(str(path))
            waiting.append(Extraction(str(path), file, photo, opened=True))
            if len(waiting) == STORED_TOGETHER:
                store.save(waiting)
                waiting = []
        store.save(waiting)


def write_gallery(folder: Path, release: Release, rows: dict[str, np.ndarray]) -> None:
    """Write a gallery of people with these embeddings."""
    folder.mkdir()
    faces = [
        GalleryFace(
            person, f"{person}{row}".encode().hex().zfill(64), "", BOX, 0.95, 0.7, embedding
        )
        for person, embeddings in rows.items()
        for row, embedding in enumerate(embeddings)
    ]
    Gallery(folder, release.contract_id, release.embedding_size).with_faces(faces).save()


def main() -> None:
    """Make the photos, run, change something, run again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100_000)
    args = parser.parse_args()
    if args.work.exists():
        parser.error(f"{args.work} exists; name another folder")
    bundle = args.build / "export"
    release = read_release(bundle)
    embeddings = np.load(args.build / "embed" / "embeddings.npy").astype(np.float32)
    persons = np.array(pq.read_table(args.build / "split" / "faces.parquet")["person"].to_pylist())
    able = [name for name in sorted(set(persons)) if (persons == name).sum() > 3]
    people = {name: embeddings[persons == name][:2] for name in able[: ENROLLED + 1]}
    *first, _ = people
    store_photos(args.work, release, faces_of(embeddings, 0, args.photos), args.photos)
    write_gallery(args.work / "gallery", release, {name: people[name] for name in first})
    write_gallery(args.work / "one more", release, people)

    def run(what: str, gallery: str) -> None:
        out = args.work / "found"
        command = ("identify", args.work / "album", "--gallery", args.work / gallery)
        done = timed(*FACEOPS, *command, "--bundle", bundle, "--out", out)
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        print(
            f"| {what} | {done.seconds:.1f} | {done.cpu_seconds:.1f} | {done.peak_mib:.0f} | "
            f"{summary['identified']:,} | {summary['unknown_people']:,} | {summary['timings']} |",
            flush=True,
        )

    print("| run | seconds | CPU seconds | peak MiB | named | unknown people | parts |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    run("first", "gallery")
    run("nothing changed", "gallery")
    run("one person enrolled", "one more")
    new = faces_of(embeddings, args.photos, max(args.photos // 100, 1))
    store_photos(args.work, release, new, args.photos // 100)
    run("1 % new photos", "one more")
    (args.work / "found" / "faces.csv").unlink()
    run("all decisions again", "one more")
    size = (args.work / "found" / "state.sqlite").stat().st_size
    print(f"state: {size / args.photos:.0f} bytes a photo, without pictures")


if __name__ == "__main__":
    main()
