"""How well unknown people are grouped: LFW people the release was not trained on, no gallery.

    python -m experiments.unknown_people_lfw --bundle build/export --data data --out OUT

Every photo of the test people of the last pipeline run is identified with an empty gallery. LFW
labels one face a photo, the central one; groups are scored by these faces. Pairs: precision and
recall of "same group" as a prediction of "same person". B-cubed (Bagga and Baldwin 1998): the same,
averaged over faces.
"""

import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from experiments import parser, run
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

CENTRE = 125.0  # of LFW's photos, pixels


def pairs(values: Iterable[object]) -> int:
    """Return how many pairs have the same value."""
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def main() -> None:
    """Copy the photos, group the people, print the scores as JSON."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=Path("data"))
    options.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    options.add_argument("--bundle", type=Path, default=Path("build/export"))
    options.add_argument("--out", type=Path, required=True)
    args = options.parse_args()
    album, found = args.out / "album", args.out / "found"
    if album.exists():
        sys.exit(f"{album} exists; name another folder with --out.")
    album.mkdir(parents=True)
    for face in pq.read_table(args.split, columns=["path", "split"]).to_pylist():
        if face["split"] == "test":
            shutil.copyfile(args.data / face["path"], album / Path(face["path"]).name)
    bundle = Bundle.load(args.bundle)
    release = bundle.release
    empty = Gallery(args.out / "gallery", release.contract_id, release.embedding_size, ())
    identify(album, empty, bundle, found)
    with (found / "unknown.csv").open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
        group = {(path, int(index)): name for name, _, _, path, index, *_ in rows}
    both = []  # (group, person) of each labelled face
    for row in pq.read_table(found / "faces.parquet").to_pylist():
        if row["decision"] != "unknown":
            continue
        right, bottom = row["x"] + row["width"], row["y"] + row["height"]
        if row["x"] < CENTRE < right and row["y"] < CENTRE < bottom:
            key = (row["photo_path"], row["face_index"])
            both.append((group.get(key, f"alone {key}"), row["photo_path"].rsplit("_", 1)[0]))
    groups, people = Counter(name for name, _ in both), Counter(person for _, person in both)
    together = Counter(both)
    large = {name for name, count in groups.items() if count > 1}
    mixed = {name for name, person in together if together[name, person] < groups[name]}
    precision = sum(together[one] / groups[one[0]] for one in both) / len(both)
    recall = sum(together[one] / people[one[1]] for one in both) / len(both)
    figures = {
        "faces": len(both),
        "people": len(people),
        "people_with_two_photos": sum(count > 1 for count in people.values()),
        "groups": len(large),
        "groups_of_several_people": len(large & mixed),
        "pair_precision": pairs(both) / max(pairs(name for name, _ in both), 1),
        "pair_recall": pairs(both) / max(pairs(person for _, person in both), 1),
        "b_cubed_precision": precision,
        "b_cubed_recall": recall,
    }
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}, indent=1))


if __name__ == "__main__":
    run(main)
