"""What the review page waits for in a large album: opening, lists, a key, a bulk, all decided anew.

    python -m benchmarks.review --faces 20000 --work WORK

The faces are made up: photos of one face each, of people of whom some have many photos, and a
gallery of some of them. Embeddings of one person are as similar as in real albums, and the release
is the published one. The files are tiny and never opened, and faces have no pictures. WORK must not
exist.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.known_photos import BOX, store_photos, write_gallery
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.state.found_photo import FACE, FoundPhoto
from faceops.registry.published.assemble import load_published
from faceops.release.bundle import Bundle
from faceops.review.album import Album
from faceops.review.live import SETTLE_S
from faceops.verification.normalisation import unit

KEYS, BULK = 40, 500
OWN = 0.62  # share of a person in an embedding, the rest is the photo's: cosines of about .4 to .7


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


def found_photos(embeddings: np.ndarray) -> Iterator[FoundPhoto]:
    """Yield a photo for each face."""
    face = np.array([(BOX, 0.95, 0.7, False)], FACE)
    for number, row in enumerate(embeddings):
        yield FoundPhoto(f"{number:064x}", None, (250, 250), faces=face, embeddings=row[None])


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print a row with the milliseconds and CPU milliseconds of what is done inside."""
    start, cpu = time.perf_counter(), time.process_time()
    yield
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"| {what} | {1000 * wall:,.0f} | {1000 * used:,.0f} |", flush=True)


def main() -> None:
    """Make the album, open it, decide."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--enrolled", type=int, default=200)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    if args.work.exists():
        parser.error(f"{args.work} exists; name another folder")
    bundle = load_published(1)
    whose = (np.random.default_rng(0).random(args.faces) ** 2 * args.people).astype(np.int64)
    photos = found_photos(made_up_faces(bundle, whose))
    store_photos(args.work, bundle.release, photos, args.faces)
    faces = made_up_faces(bundle, np.repeat(np.arange(args.enrolled), 2))
    enrolled = {f"Person {one:04d}": faces[2 * one : 2 * one + 2] for one in range(args.enrolled)}
    write_gallery(args.work / "gallery", bundle.release, enrolled)
    gallery = Gallery.open(args.work / "gallery")
    identify(args.work / "album", gallery, bundle, args.work / "found")

    print("| what | ms | CPU ms |\n| --- | ---: | ---: |")
    with told("open"):
        album = Album(args.work / "found", args.work / "gallery", bundle)
    with told("all piles and the faces of the first"):
        person = album.piles()[0].person
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
    keys = [album.decided().key(row) for row in range(0, args.faces, args.faces // BULK)][:BULK]
    with told(f"a bulk of {len(keys)}"):
        album.ignore(keys)
    album.wait()
    with told(f"the whole album decided anew, after {SETTLE_S:g} s"):
        album.confirm([first[0].key], person)
        album.wait()
    album.close()


if __name__ == "__main__":
    main()
