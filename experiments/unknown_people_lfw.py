"""How well unknown people are grouped: LFW people whom the release has not seen, no gallery.

python experiments/unknown_people_lfw.py --bundle build/export --data data --out OUT

Every photo of the test people of the last pipeline run goes through `identify` with an empty
gallery. LFW labels one face a photo, the one in its middle: groups are scored by these faces.
Pairs: of all pairs put into one group, how many show one person, and of all pairs of one person,
how many were put together. B-cubed (Bagga and Baldwin, 1998): the same, averaged over faces.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

MIDDLE = 125.0  # of LFW's photos, pixels


def pairs(values: Iterable[object]) -> int:
    """Return how many pairs share a value."""
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def main() -> None:
    """Copy the photos, group the people, print the scores as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    album = args.out / "album"
    if album.exists():
        sys.exit(f"{album} exists; name another folder with --out.")
    album.mkdir(parents=True)
    for face in pq.read_table(args.split, columns=["path", "split"]).to_pylist():
        if face["split"] == "test":
            shutil.copyfile(args.data / face["path"], album / Path(face["path"]).name)
    bundle = Bundle.load(args.bundle)
    empty = Gallery(
        args.out / "gallery", bundle.release.contract_id, bundle.release.embedding_size, ()
    )
    found = args.out / "found"
    summary = identify(album, empty, bundle, found)
    group = {}
    for line in (found / "unknown.csv").read_text("utf-8").splitlines()[1:]:
        name, _, _, path, index, *_ = line.split(",")
        group[path, int(index)] = name
    labels, groups = [], []
    for row in pq.read_table(found / "faces.parquet").to_pylist():
        if row["decision"] != "unknown":
            continue
        inside = (
            row["x"] < MIDDLE < row["x"] + row["width"]
            and row["y"] < MIDDLE < row["y"] + row["height"]
        )
        if inside:
            labels.append(row["photo_path"].rsplit("_", 1)[0])
            key = (row["photo_path"], row["face_index"])
            groups.append(group.get(key, f"alone {key}"))
    both = Counter(zip(groups, labels, strict=True))
    size, photos = Counter(groups), Counter(labels)
    together = list(zip(groups, labels, strict=True))
    named = {name for name in groups if size[name] > 1}
    impure = {name for name, label in both if name in named and both[name, label] < size[name]}
    figures = {
        "faces": len(labels),
        "people": len(photos),
        "people_with_two_photos": sum(count > 1 for count in photos.values()),
        "groups_of_labelled_faces": len(named),
        "groups_of_several_people": len(impure),
        "pair_precision": round(pairs(together) / max(pairs(groups), 1), 4),
        "pair_recall": round(pairs(together) / max(pairs(labels), 1), 4),
        "b_cubed_precision": round(
            sum(both[one] / size[one[0]] for one in together) / len(labels), 4
        ),
        "b_cubed_recall": round(
            sum(both[one] / photos[one[1]] for one in together) / len(labels), 4
        ),
        "seconds_grouping": summary.timings["group"],
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
