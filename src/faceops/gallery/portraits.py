"""One picture of an enrolled person, to look at."""

from collections.abc import Collection
from pathlib import Path

import pyarrow.parquet as pq

from faceops.gallery.gallery_files import FACES_FILE

AT_ONCE = 256  # faces; 25 kB each


def portraits(folder: Path, people: Collection[str]) -> dict[str, bytes]:
    """Return the best crop (PNG, 112 x 112) of each of `people`; memory is bounded.

    Who is not in the gallery has none, nor has anybody where there is no gallery.

    Raises:
        OSError, pyarrow.ArrowException: the gallery's faces cannot be read.
    """
    best: dict[str, tuple[float, bytes]] = {}
    path = folder / FACES_FILE
    if not people or not path.is_file():
        return {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(AT_ONCE, columns=["person", "quality", "crop"]):
            names, qualities = batch["person"].to_pylist(), batch["quality"].to_pylist()
            for row, (person, quality) in enumerate(zip(names, qualities, strict=True)):
                if person in people and quality > best.get(person, (-1.0, b""))[0]:
                    best[person] = quality, batch["crop"][row].as_py()
    return {person: crop for person, (_, crop) in best.items() if crop}
