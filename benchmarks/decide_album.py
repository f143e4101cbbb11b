"""What it costs to measure an album and to name its faces by normalised scores.

    OMP_NUM_THREADS=1 python -m benchmarks.decide_album [--faces N] [--people N]

Synthetic: random people, two enrolled faces each; most faces of the album are of others. Seconds
and memory beyond the inputs, from embeddings to decisions, beside the way of releases that know no
normalised scores.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.store import Gallery
from faceops.identification.engine.album_search import AlbumSearch, usable_faces
from faceops.identification.engine.decide import NamingRule, name_faces
from faceops.identification.engine.extract import KNOWN_AT_ONCE
from faceops.identification.settings import IDENTIFICATION
from faceops.identification.state.found_photo import FACE, FoundPhoto
from faceops.identification.state.photo_block import Extraction, PhotoBlock
from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.normalisation import Normalisation, unit
from faceops.verification.thresholds import NamingLimits, TailPoint
from faceops.verification.verifier import Verifier

SIZE, SPREAD, BOX = 128, 0.06, (0.0, 0.0, 60.0, 60.0)
VERIFIER = Verifier(np.full(SIZE, -10, np.float32), 12.0, "distance")
draw = np.random.default_rng(0)


def faces_of(centres: np.ndarray, persons: np.ndarray) -> np.ndarray:
    """Return a face float32 (N, SIZE) of each of `persons`, rows of `centres`."""
    noise = draw.standard_normal((len(persons), SIZE), dtype=np.float32)
    return unit(centres[persons] + np.float32(SPREAD) * noise)


def calibrated() -> Normalisation:
    """Return what a release knows of 500 other people."""
    persons = np.repeat(np.arange(500), 4)
    centres = unit(draw.standard_normal((500, SIZE)))
    tail = [TailPoint(rate=0.1, probability=0.01), TailPoint(rate=5e-6, probability=0.88)]
    found = measure_normalisation(faces_of(centres, persons), persons, VERIFIER, tail)
    assert found is not None
    return found


def memory(line: str) -> float:
    """Return a line of /proc/self/status, MiB."""
    text = Path("/proc/self/status").read_text("utf-8")
    return int(text.split(f"{line}:")[1].split()[0]) / 1024


def main() -> None:
    """Print the figures of both ways and their ratio."""
    parser = argparse.ArgumentParser(description="speed of naming in an album")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=2_500)
    args = parser.parse_args()
    normalisation = calibrated()
    centres = unit(draw.standard_normal((3 * args.people, SIZE)))
    owners = np.repeat(np.arange(args.people), 2)
    enrolled = zip(owners, faces_of(centres, owners), strict=True)
    gallery = Gallery(Path("none"), "", SIZE, tuple(
        GalleryFace(f"P{owner:05d}", f"{row:x}", "", BOX, 1, 1, embedding)
        for row, (owner, embedding) in enumerate(enrolled)
    ))  # fmt: skip
    album = faces_of(centres, draw.integers(0, len(centres), args.faces))
    one_face = np.array([(BOX, 1, 1, False)], FACE)
    found = (
        FoundPhoto(f"{row:064x}", None, (99, 99), faces=one_face, embeddings=album[[row]])
        for row in range(args.faces)
    )
    photos = [Extraction(f"/{row}", None, photo) for row, photo in enumerate(found)]
    blocks = [
        PhotoBlock.of(photos[first : first + KNOWN_AT_ONCE], SIZE)
        for first in range(0, args.faces, KNOWN_AT_ONCE)
    ]
    del photos
    assert len(gallery.embeddings) == len(gallery.person_rows)
    plain = NamingRule(NamingLimits(0.99, 1.0))
    seconds = {}
    for way in ("raw", "normalised"):
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak starts again
        before, start, rule = memory("VmRSS"), time.monotonic(), plain
        cpu = time.process_time()
        if way == "normalised":
            rows, codes = usable_faces(blocks, IDENTIFICATION)
            faces = np.concatenate([block.embeddings for block in blocks])[rows]
            search = AlbumSearch.of_run(normalisation, gallery, faces, codes)
            rule = plain.in_album(search, search.album.threshold(0.01, args.people), 0.01)
        measured = time.monotonic() - start
        decided = (name_faces(block, gallery, VERIFIER.probability, rule) for block in blocks)
        named = sum(int(one.named.sum()) for one in decided)
        seconds[way] = time.monotonic() - start
        print(
            f"{way}: {seconds[way]:.1f} s (album {measured:.1f} s), "
            f"{time.process_time() - cpu:.1f} s of CPU, {memory('VmHWM') - before:.0f} "
            f"MiB beyond the inputs, {named:,} of {args.faces:,} faces named"
        )
    print(f"ratio: {seconds['normalised'] / seconds['raw']:.2f}")


if __name__ == "__main__":
    main()
