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
    person = (np.random.default_rng(0).random(args.faces) ** 2 * args.people).astype(np.int64)
    photos = found_photos(made_up_faces(bundle, person))
    store_photos(args.work, bundle.release, photos, args.faces)
    faces = made_up_faces(bundle, np.repeat(np.arange(args.enrolled), 2))
    enrolled = {f"Person {one:04d}": faces[2 * one : 2 * one + 2] for one in range(args.enrolled)}
    write_gallery(args.work / "gallery", bundle.release, enrolled)
    gallery = Gallery.open(args.work / "gallery")
    identify(args.work / "album", gallery, bundle, args.work / "found")

    def told(what: str, start: float, cpu: float | None = None) -> None:
        used = "" if cpu is None else f"{1000 * (time.process_time() - cpu):,.0f}"
        print(f"| {what} | {1000 * (time.perf_counter() - start):,.0f} | {used} |", flush=True)

    print("| what | ms | CPU ms |")
    print("| --- | ---: | ---: |")
    start, cpu = time.perf_counter(), time.process_time()
    album = Album(args.work / "found", args.work / "gallery", bundle)
    told("open", start, cpu)
    start = time.perf_counter()
    piles = album.piles()
    first = album.pile(piles[0].person)
    told(f"{len(piles)} piles and the first of them", start)
    start = time.perf_counter()
    album.people_cards()
    told("the people", start)
    start = time.perf_counter()
    groups = album.groups()
    told(f"{len(groups)} unknown people", start)
    start = time.perf_counter()
    album.wait()
    told("until all was decided once", start)
    times = []
    for number, face in enumerate(first[:KEYS]):
        start = time.perf_counter()
        if number % 2:
            album.refuse([face.key], piles[0].person)
        else:
            album.confirm([face.key], piles[0].person)
        album.pile(piles[0].person)
        times.append(1000 * (time.perf_counter() - start))
    print(f"| a key and the next faces, median | {np.median(times):,.0f} | |")
    print(
        f"| a key and the next faces, slowest of {len(times)} | {max(times):,.0f} | |", flush=True
    )
    keys = [album.decided().key(row) for row in range(0, args.faces, args.faces // BULK)][:BULK]
    start = time.perf_counter()
    album.ignore(keys)
    told(f"a bulk of {len(keys)}", start)
    album.wait()
    start, cpu = time.perf_counter(), time.process_time()
    album.confirm([first[0].key], piles[0].person)
    album.wait()
    told(f"the whole album decided anew, after {SETTLE_S:g} s", start, cpu)
    album.close()


if __name__ == "__main__":
    main()
