"""Stage split: assign each person to training, validation or test."""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, stage_output, write_json
from faceops.config.sections import Params
from faceops.dataset import data_folder, splits
from faceops.dataset.expectations import check_split, stop_on_hard_failures
from faceops.dataset.names import name_key, read_people_list
from faceops.stages import CROPPED, FACES, INPUTS, run_stage, stage_params

OUT = Path("build/split")


def _splits(photos: Counter[str], all_params: Params) -> dict[str, str]:
    params, min_photos = all_params.split, all_params.validate_.min_photos
    shares = params.val, params.test
    if params.by == "random":
        return splits.split_people(photos, shares, params.seed, min_photos)
    lists = [INPUTS / name for name in ("peopleDevTrain.txt", "peopleDevTest.txt")]
    for path in lists:
        if not path.is_file():
            raise FaceOpsError(
                f"split.by is lfw, but data/protocols/lfw/{path.name} is missing; import LFW with "
                "its lists beside it, or set split.by to random."
            )
    train, test = map(read_people_list, lists)
    return splits.split_people(photos, shares, params.seed, min_photos, (train, test))


def _write_hard_negatives(table: pa.Table) -> None:
    """Write the pairs of training people who were taken for each other, as `table` spells them."""
    rows = table.select(["person", "split", "negative_only"]).to_pylist()
    several = {
        row["person"] for row in rows if row["split"] == splits.TRAIN and not row["negative_only"]
    }
    spelled = {name_key(person): person for person in several}
    listed = data_folder.read_hard_negatives(INPUTS / data_folder.HARD_NEGATIVES_FILE.name)
    pairs = [(spelled.get(name_key(one)), spelled.get(name_key(other))) for one, other in listed]
    used = [{"person": one, "other": other} for one, other in pairs if one and other]
    schema = pa.schema([("person", pa.string()), ("other", pa.string())])
    with atomic_path(OUT / "hard_negatives.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(used, schema), temporary)


def main() -> None:
    """Read build/crop/faces.parquet; write build/split/."""
    params = stage_params()
    with stage_output(CROPPED):
        rows = splits.accepted_faces(pq.read_table(CROPPED))
    photos = Counter(row["person"] for row in rows)
    faces = data_folder.read_reviewed(INPUTS / data_folder.REVIEWED_FILE.name)
    touched = splits.reviewed_splits(photos, faces)
    others = Counter({person: photos[person] for person in photos if person not in touched})
    table = splits.split_table(rows, _splits(others, params) | touched, params.validate_.min_photos)
    results = check_split(table, params.validate_.min_photos, params.validate_.hard)
    figures = splits.split_figures(table)
    report = {**figures, "expectations": {r.name: asdict(r) for r in results}}
    write_json(OUT / "split.json", report)
    for warning in stop_on_hard_failures(results, str(OUT / "split.json")):
        print(warning, file=sys.stderr)
    with atomic_path(FACES) as temporary:
        pq.write_table(table, temporary)
    _write_hard_negatives(table)
    counts = [f"{s} {f['people']} people, {f['photos']} photos" for s, f in figures.items()]
    print(f"split: {'; '.join(counts)}")


if __name__ == "__main__":
    run_stage(main)
