"""A registry of four versions in a store of its own, for tests that move its champion."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.registry.versions import Version


def of_people(bundle: Path, folder: Path, people: str) -> Path:
    """Copy `bundle` to `folder` with other data stated: another release of the same contract."""
    shutil.copytree(bundle, folder)
    release = json.loads((folder / "release.json").read_text())
    release["data"] = {"name": people}
    (folder / "release.json").write_text(json.dumps(release, indent=1, sort_keys=True) + "\n")
    return folder


@pytest.fixture(scope="session")
def store_folder(
    sface_bundle: Path, next_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with mlflow.db: versions 1 to 4, 1 and 4 of one contract, 2 and 3 of another."""
    import mlflow

    from faceops.registry.register import register
    from faceops.registry.store import use_tracking

    root = tmp_path_factory.mktemp("store")
    bundles = [
        sface_bundle,
        next_bundle,
        of_people(next_bundle, root / "third", "some"),
        of_people(sface_bundle, root / "fourth", "others"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.chdir(root)
        use_tracking(root)
        for number, bundle in enumerate(bundles, start=1):
            with mlflow.start_run() as run:
                pass
            made = register(bundle, run.info.run_id, f"release {number}")
            assert made.version == number
            (root / f"aliases-{number}.json").write_text(json.dumps(made.aliases))
    return root


@pytest.fixture
def aliases_at_registration(store_folder: Path) -> list[tuple[str, ...]]:
    """What `register` gave the four versions, in their order."""
    return [
        tuple(json.loads((store_folder / f"aliases-{number}.json").read_text()))
        for number in range(1, 5)
    ]


@pytest.fixture
def registry(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[int, Version]]:
    """The versions by number; each test begins with 1 as champion, 4 as challenger, no log."""
    import mlflow

    from faceops.registry.store import point_at_store
    from faceops.registry.versions import CHAMPIONS_TAG, FIRST, Event, note_champion, versions

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store_folder}/mlflow.db")
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    point_at_store(store_folder)
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("faceops", "champion", "1")
    client.set_registered_model_alias("faceops", "challenger", "4")
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[]")
    for one in versions():
        tags = client.get_model_version("faceops", str(one.version)).tags
        for tag in tags:
            if tag.startswith(("champion_", "gate")):
                client.delete_model_version_tag("faceops", str(one.version), tag)
    note_champion(Event.now(1, FIRST))
    yield {one.version: one for one in versions()}
