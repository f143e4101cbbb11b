"""An MLflow store with four registered releases, for tests of the registry and the gate."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from faceops.base.files import sha256_file


def of_data(bundle: Path, folder: Path, data: dict[str, Any]) -> Path:
    """Copy `bundle` to `folder` with other data stated: another release of the same contract."""
    shutil.copytree(bundle, folder)
    release = json.loads((folder / "release.json").read_text())
    release["data"] = data
    (folder / "release.json").write_text(json.dumps(release, indent=1, sort_keys=True) + "\n")
    return folder


def write_split(folder: Path, photos: Path) -> Path:
    """Write a split of the people below `photos` to a new folder: every fourth is in train."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    people = sorted(path.name for path in photos.iterdir())
    columns = {
        "person": people,
        "photo_id": [f"not among these photos {person}" for person in people],
        "split": ["test" if number % 4 else "train" for number in range(len(people))],
    }
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "faces.parquet")
    return folder / "faces.parquet"


def register_in(root: Path, bundle: Path, *artifacts: Path) -> Any:
    """Register `bundle` in `root`/mlflow.db, with files or folders in its run; return the version.

    MLflow's store is the same as before afterwards.
    """
    import mlflow

    from faceops.registry.register import register
    from faceops.registry.store import use_tracking

    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")  # restored also where MLflow sets it
        use_tracking(root)
        with mlflow.start_run() as run:
            for path in artifacts:
                mlflow.log_artifact(str(path))
        version = register(bundle, run.info.run_id, f"release {bundle.name}")
        mlflow.set_tracking_uri(before)
    return version


def make_store(root: Path, first: Path, second: Path, photos: Path) -> list[tuple[str, ...]]:
    """Register versions 1 to 4 in `root`/mlflow.db and return the aliases that each was given.

    1 and 4 are the bundle `first`, 2 and 3 are `second`. The people of 1 and 2 are known by a
    split.
    """
    split = write_split(root / "split", photos)
    known = {"name": "synthetic people", "faces_sha256": sha256_file(split)}
    releases = [(first, known), (second, known), (second, {"name": "a"}), (first, {"name": "b"})]
    aliases = []
    for number, (bundle, data) in enumerate(releases, 1):
        folder = of_data(bundle, root / str(number), data)
        artifacts = [split.parent] if data == known else []
        aliases.append(register_in(root, folder, *artifacts).aliases)
    return aliases


def reset_store() -> dict[int, Any]:
    """Make 1 champion and 4 challenger again, without verdicts; return the versions by number."""
    import mlflow

    from faceops.registry.champion import CHAMPIONS_TAG, FIRST, Event, note_champion
    from faceops.registry.store import versions

    client = mlflow.MlflowClient()
    client.set_registered_model_alias("faceops", "champion", "1")
    client.set_registered_model_alias("faceops", "challenger", "4")
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[]")
    for number in "1234":
        client.update_model_version("faceops", number, f"release {number}")
        for tag in client.get_model_version("faceops", number).tags:
            if tag.startswith(("champion_", "gate")):
                client.delete_model_version_tag("faceops", number, tag)
    note_champion(Event.now(1, FIRST))
    return {one.version: one for one in versions()}
