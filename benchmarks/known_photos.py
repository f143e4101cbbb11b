"""What runs over many known photos cost, and what the review page waits for in such an album.

    python -m benchmarks.known_photos runs --work WORK [--faces 100000]
    python -m benchmarks.known_photos page --work WORK [--faces 20000]

The faces are made up: photos of one face each, of people of whom some have many photos, and a
gallery of a tenth of them with two photos each. Embeddings of one person are as similar as in real
albums, and the release is the published one. The files are tiny and never opened, and faces have
no pictures. WORK must not exist.

runs: seconds, CPU seconds and peak memory of whole commands: decisions, rows, groups of unknown
people, report. page: opening, lists, a key, a bulk, all decided anew.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from benchmarks import FACEOPS, timed
from experiments import parser
from faceops.base.work import track
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.store import Gallery
from faceops.identification.inputs import DETAIL, source_file
from faceops.identification.run import identify
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE, Extraction, FoundPhoto
from faceops.identification.state.schema import method_of
from faceops.registry.published import load_published
from faceops.release.bundle import Bundle
from faceops.release.contract import Release
from faceops.review.album import Album
from faceops.review.live import SETTLE_S
from faceops.verification.normalisation import unit

FACES_OF_A_PERSON, STORED_TOGETHER = 10, 1024
KEYS, BULK = 40, 500
OWN = 0.62  # share of a person in an embedding, the rest is the photo's: cosines of about .4 to .7
BOX = (40.0, 40.0, 90.0, 110.0)


def made_up_faces(bundle: Bundle, person: np.ndarray) -> np.ndarray:
    """Return an embedding for each face, float32 (N, D); `person` int64 (N,) says whose it is."""
    known = bundle.release.thresholds.normalisation
    if known is None:
        raise ValueError("the release knows no normalised scores")
    centre, faces = np.array(known.centre), len(person)
    own = unit(np.random.default_rng(0).normal(size=(int(person.max()) + 1, len(centre))))
    random = np.random.default_rng(faces)
    clear = np.clip(random.normal(OWN, 0.12, (faces, 1)), 0, 0.95)  # how clearly a photo shows it
    noise = unit(random.normal(size=(faces, len(centre))))
    drawn = np.sqrt(clear) * own[person] + np.sqrt(1 - clear) * noise
    return unit(centre + np.sqrt(1 - centre @ centre) * drawn)


def found_photos(embeddings: np.ndarray, first: int = 0) -> Iterator[FoundPhoto]:
    """Yield a photo for each face, numbered from `first` on."""
    face = np.array([(BOX, 0.95, 0.7, False)], FACE)
    for number, row in enumerate(embeddings, first):
        yield FoundPhoto(f"{number:064x}", None, (250, 250), faces=face, embeddings=row[None])


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


def runs(work: Path, bundle: Bundle, faces: int) -> None:
    """Run, change something, run again; print the table."""

    def run(what: str, gallery: str) -> None:
        command = ("identify", work / "album", "--gallery", work / gallery, "--model", "published")
        done = timed(*FACEOPS, *command, "--out", work / "found")
        summary = json.loads((work / "found" / "summary.json").read_text("utf-8"))
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
    new = max(faces // 100, 1)
    photos = found_photos(made_up_faces(bundle, whose(new, faces)), faces)
    store_photos(work, bundle.release, photos, new)
    run("1 % new photos", "one more")
    (work / "found" / "faces.csv").unlink()
    run("all decisions again", "one more")
    size = (work / "found" / "state.sqlite").stat().st_size
    print(f"state: {size / faces:.0f} bytes a photo, without pictures")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print a row with the milliseconds and CPU milliseconds of what is done inside."""
    start, cpu = time.perf_counter(), time.process_time()
    yield
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"| {what} | {1000 * wall:,.0f} | {1000 * used:,.0f} |", flush=True)


def page(work: Path, bundle: Bundle, faces: int) -> None:
    """Open the album on the page, decide; print the table."""
    gallery = Gallery.open(work / "gallery")
    identify(work / "album", gallery, bundle, work / "found")
    print("| what | ms | CPU ms |\n| --- | ---: | ---: |")
    with told("open"):
        album = Album(work / "found", work / "gallery", bundle)
    with told("all piles and the faces of the first"):
        if not (piles := album.piles()):
            sys.exit("nobody is to be confirmed among so few faces; name more with --faces.")
        person = piles[0].person
        first = album.pile(person)
    with told("the people"):
        album.people_cards()
    with told("the unknown people"):
        album.groups()
    with told("until all was decided once"):
        album.wait()
    times = []
    for number, face in enumerate(first[:KEYS]):
        start = time.perf_counter()
        decide = album.refuse if number % 2 else album.confirm
        decide([face.key], person)
        album.pile(person)
        times.append(1000 * (time.perf_counter() - start))
    print(f"| a key and the next faces, median | {np.median(times):,.0f} | |")
    print(f"| the same, slowest of {len(times)} | {max(times):,.0f} | |", flush=True)
    keys = [album.decided.key(row) for row in range(0, faces, max(faces // BULK, 1))][:BULK]
    with told(f"a bulk of {len(keys)}"):
        album.ignore(keys)
    album.wait()
    with told(f"the whole album decided anew, after {SETTLE_S:g} s"):
        album.confirm([first[0].key], person)
        album.wait()
    album.close()


def whose(faces: int, album: int) -> np.ndarray:
    """Return the person of each face of an album of so many, int64 (N,)."""
    people = album // FACES_OF_A_PERSON
    return (np.random.default_rng(0).random(faces) ** 2 * people).astype(np.int64)


def main() -> None:
    """Make the album and the galleries, then one table."""
    options = parser(__doc__)
    options.add_argument("table", choices=("runs", "page"))
    options.add_argument("--work", type=Path, required=True, help="a new folder")
    options.add_argument("--faces", type=int, help="runs: 100000; page: 20000")
    args = options.parse_args()
    if args.work.exists():
        options.error(f"{args.work} exists; name another folder")
    work, bundle = args.work, load_published(1)
    faces = args.faces or (100_000 if args.table == "runs" else 20_000)
    photos = found_photos(made_up_faces(bundle, whose(faces, faces)))
    store_photos(work, bundle.release, photos, faces)
    enrolled = np.arange(faces // FACES_OF_A_PERSON // 10 + 1)
    rows = made_up_faces(bundle, np.repeat(enrolled, 2))
    people = {f"Person {one:04d}": rows[2 * one : 2 * one + 2] for one in enrolled.tolist()}
    write_gallery(work / "one more", bundle.release, people)
    people.popitem()
    write_gallery(work / "gallery", bundle.release, people)
    (runs if args.table == "runs" else page)(work, bundle, faces)


if __name__ == "__main__":
    main()
