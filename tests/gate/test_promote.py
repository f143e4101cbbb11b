"""From two registered releases and photos to a champion: measured, recorded, refused or not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.config.sections import Gate
from faceops.gate import latency
from faceops.gate import promote as judging
from faceops.gate import promote as promoting
from faceops.gate.photos import data_sha256
from faceops.gate.promote import RefusedError, gate_and_promote, gate_release, promote
from faceops.gate.verdict import StoredVerdict, find_stored_verdict
from faceops.registry.champion import rollback
from faceops.registry.versions import (
    CHAMPIONS_TAG,
    FIRST,
    Event,
    Version,
    champion,
    find_version,
    note_champion,
    versions,
)

pytestmark = pytest.mark.slow

# Two dozen people can rule out nothing small: the tolerances are wide where a test means to pass.
WIDE = Gate(
    min_people=10, fpir=0.2, far=0.05, unknown_share=0.4, gallery_photos=1, min_slice_people=3,
    max_dir_loss=0.5, max_tar_loss=0.5, max_named_loss=0.5, max_slice_loss=1,
    max_latency_ratio=10, resamples=100,
)  # fmt: skip


def with_split(bundle: Path, folder: Path, split: Path) -> Path:
    """Copy `bundle`, saying that it was made from the people of `split`."""
    shutil.copytree(bundle, folder)
    release = json.loads((folder / "release.json").read_text())
    release["data"] = {"name": "synthetic people", "faces_sha256": sha256_file(split)}
    (folder / "release.json").write_text(json.dumps(release, indent=1, sort_keys=True) + "\n")
    return folder


@pytest.fixture(scope="module")
def root(
    sface_bundle: Path,
    next_bundle: Path,
    synthetic_set: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A folder with photos and mlflow.db: version 2 challenges 1; of 3 nobody knows the split."""
    import mlflow

    from faceops.registry.register import register
    from faceops.registry.store import use_tracking

    root = tmp_path_factory.mktemp("gate")
    (root / "data").symlink_to(synthetic_set)
    people = sorted(path.name for path in (synthetic_set / "photos").iterdir())
    splits = np.where(np.arange(len(people)) % 4 == 0, "train", "test").tolist()
    photos = [f"not among these photos {number}" for number in range(len(people))]
    split = root / "made" / "faces.parquet"
    split.parent.mkdir()
    pq.write_table(pa.table({"person": people, "photo_id": photos, "split": splits}), split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("FACEOPS_CACHE", str(root / "cache"))
        patch.chdir(root)
        use_tracking(root)
        made = [
            with_split(sface_bundle, root / "1", split),
            with_split(next_bundle, root / "2", split),
        ]
        for bundle in (*made, next_bundle):
            with mlflow.start_run() as run:
                if bundle != next_bundle:
                    mlflow.log_artifact(str(split), "split")
            register(bundle, run.info.run_id, f"release in {bundle.name}")
        yield root


@pytest.fixture(autouse=True)
def few_photos_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "PHOTOS", 3)


def passing() -> StoredVerdict:
    """Return what stands for a pass where nothing is to be measured."""
    return StoredVerdict(passed=True, reasons="", markdown="")


@pytest.fixture
def challenger(root: Path) -> Version:
    """Version 2, while 1 is champion."""
    import mlflow

    client = mlflow.MlflowClient()
    client.set_registered_model_alias("faceops", "champion", "1")
    client.set_registered_model_alias("faceops", "challenger", "2")
    for tag in client.get_model_version("faceops", "2").tags:
        if tag.startswith(("gate", "champion_")):
            client.delete_model_version_tag("faceops", "2", tag)
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[]")
    note_champion(Event.now(1, FIRST))
    return find_version("2")


def test_a_challenger_that_passes_becomes_champion_and_its_page_says_what_was_measured(
    root: Path, challenger: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    done = promote(challenger, root, WIDE)
    assert (done.version, done.over) == (2, 1)
    now = champion()
    assert now is not None
    assert (now.version, now.aliases, now.gate) == (2, ("champion",), "passed")
    entry = mlflow.MlflowClient().get_model_version("faceops", "2")
    verdict = json.loads((root / "build/gate/verdict.json").read_text())
    assert verdict["passed"]
    assert verdict["people_left_out"] == 6
    assert {"time a photo, ms", "size, MiB", "people"} <= {
        rule["name"] for rule in verdict["rules"]
    }
    assert entry.tags["gate_against"] == "1"
    assert entry.tags["gate_photos_sha256"] == verdict["photos_sha256"]
    assert entry.description.startswith("release in 2\n\n## Gate\n\n**Passed**: version 2 against")
    logged = mlflow.artifacts.load_text(f"runs:/{challenger.run_id}/gate/against_1/verdict.json")
    assert json.loads(logged) == verdict
    # Asked again with nothing changed, and once more from version 1: nothing is measured anew.
    mlflow.MlflowClient().set_registered_model_alias("faceops", "champion", "1")
    monkeypatch.setattr(judging, "gate_release", None)
    assert promote(find_version("2"), root, WIDE).told == "it passed the gate against version 1"
    assert promote(find_version("2"), root, WIDE).told == "it is champion already"


def test_a_challenger_that_is_refused_stays_one_and_its_page_says_why(
    root: Path, challenger: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    strict = WIDE.model_copy(update={"max_size_ratio": 0.6})
    with pytest.raises(RefusedError, match=r"version 1 stays champion: size: .* are allowed"):
        promote(challenger, root, strict)
    monkeypatch.setattr(judging, "gate_release", None)  # a refusal stands as a pass does
    with pytest.raises(RefusedError, match=r"0.6 times are allowed"):
        promote(challenger, root, strict)
    assert {one.version: one.aliases for one in versions()}[1] == ("champion",)
    entry = mlflow.MlflowClient().get_model_version("faceops", "2")
    assert entry.tags["gate"] == "refused"
    assert "0.6 times are allowed" in entry.tags["gate_reasons"]
    assert entry.description.count("## Gate") == 1
    assert "**Refused**" in entry.description


def test_a_rebuild_does_not_bring_back_what_was_rolled_back_from(
    root: Path, challenger: Version
) -> None:
    import mlflow

    promote(challenger, root, WIDE)
    rollback("it named the wrong people")
    judged = gate_and_promote(2, root, WIDE, move=True, threads=1)
    assert (judged["gate"], judged["promoted"]) == ("withdrawn", False)
    assert "was rolled back from" in judged["told"]
    described = mlflow.MlflowClient().get_model_version("faceops", "2").description
    assert "## Gate\n\n**Withdrawn**: rolled back from: it named the wrong people.\n" in described
    assert promote(find_version("2"), root, WIDE).version == 2  # a person may, by a new verdict
    assert find_version("2").gate == "passed"


def test_while_the_gate_measures_a_rollback_need_not_wait(
    root: Path, challenger: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(challenger, root, WIDE, override="to go back from")
    monkeypatch.setattr(promoting, "judge", lambda *_: (rollback(), passing())[1])
    with pytest.raises(FaceOpsError, match=r"version 1 became champion meanwhile"):
        promote(find_version("3"), root, WIDE)
    now = champion()
    assert now is not None
    assert now.version == 1


def test_a_verdict_does_not_stand_for_other_photos_or_rules_or_when_it_was_cut_off(
    root: Path, challenger: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    one = find_version("1")
    photos = data_sha256(root / "data")
    gate_release(challenger, one, root, WIDE)
    assert find_stored_verdict(challenger, one, WIDE, root, photos)
    assert find_stored_verdict(challenger, one, WIDE, root, "other photos") is None
    assert find_stored_verdict(challenger, find_version("3"), WIDE, root, photos) is None
    stricter = WIDE.model_copy(update={"max_tar_loss": 0.1})
    assert find_stored_verdict(challenger, one, stricter, root, photos) is None

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow.MlflowClient, "log_text", fails)
    with pytest.raises(KeyboardInterrupt):
        gate_release(challenger, one, root, stricter)
    assert find_stored_verdict(challenger, one, WIDE, root, photos) is None
    assert find_stored_verdict(challenger, one, stricter, root, photos) is None


def test_for_a_stated_reason_it_is_promoted_all_the_same(root: Path, challenger: Version) -> None:
    import mlflow

    done = promote(challenger, root, WIDE, override="smaller, and good enough for us")
    assert done.version == 2
    tags = mlflow.MlflowClient().get_model_version("faceops", "2").tags
    assert tags["champion_because"] == "override: smaller, and good enough for us"
    assert "gate" not in tags


def test_nothing_is_fair_where_it_is_not_known_whom_a_release_has_seen(
    root: Path, challenger: Version
) -> None:
    with pytest.raises(RefusedError, match=r"whom it has seen is not known.*no comparison can be"):
        promote(find_version("3"), root, WIDE)


def test_without_a_champion_there_is_nothing_to_compare_with(
    root: Path, challenger: Version
) -> None:
    import mlflow

    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    with pytest.raises(FaceOpsError, match=r"no version is champion.*faceops release rollback"):
        promote(challenger, root, WIDE)


def test_photos_that_are_not_as_pinned_are_not_compared_on(root: Path, challenger: Version) -> None:
    with pytest.raises(FaceOpsError, match=r"not as gate.photos_sha256 pins it"):
        promote(challenger, root, WIDE.model_copy(update={"photos_sha256": "0" * 64}))
