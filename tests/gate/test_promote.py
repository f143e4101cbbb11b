"""From two registered releases and photos to a champion: measured, recorded, refused or not."""

import json
from pathlib import Path

import mlflow
import pytest

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Gate
from faceops.gate import compare, rules
from faceops.gate import promote as promoting
from faceops.gate.promote import (
    RefusedError,
    StoredVerdict,
    find_stored_verdict,
    gate_and_promote,
    gate_release,
    promote,
)
from faceops.gate.trials import data_sha256
from faceops.registry import published_folder
from faceops.registry.champion import CHAMPIONS_TAG, rollback
from faceops.registry.store import champion, find_version
from faceops.release.release_file import SignatureError
from tests.release.test_release_file import write_key

# Two dozen people can rule out nothing small: the tolerances are wide where a test means to pass.
WIDE = Gate(
    min_people=10, fpir=0.2, far=0.05, unknown_share=0.4, gallery_photos=1, min_slice_people=3,
    max_dir_loss=0.5, max_tar_loss=0.5, max_named_loss=0.5, max_slice_loss=1,
    max_latency_ratio=10, resamples=100,
)  # fmt: skip


@pytest.fixture
def root(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the registry and of data/; its cache is kept; the models are equally fast."""
    monkeypatch.setenv("FACEOPS_CACHE", str(store_folder / "cache"))
    monkeypatch.setattr(rules, "measure_latency", lambda *_: compare.Latency(9, 9, 1, 0.9, 1.1))
    return store_folder


def replace(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setattr(promoting, name, value)


def tags(version: int) -> dict[str, str]:
    return dict(mlflow.MlflowClient().get_model_version("faceops", str(version)).tags)


def description(version: int) -> str:
    return str(mlflow.MlflowClient().get_model_version("faceops", str(version)).description)


def test_a_challenger_that_passes_becomes_champion_and_its_page_says_what_was_measured(
    registry, root, monkeypatch
):
    monkeypatch.setattr(rules, "measure_latency", compare.measure_latency)
    monkeypatch.setattr(compare, "FIRST_LOOK", 8)
    done = promote(registry[2], root, WIDE)
    assert (done.version, done.over) == (2, 1)
    now = champion()
    assert now is not None
    assert (now.version, now.aliases, now.gate) == (2, ("champion",), "passed")
    verdict = json.loads((root / "build/gate/verdict.json").read_text())
    assert verdict["passed"]
    assert verdict["people_left_out"] == 6
    names = {rule["name"] for rule in verdict["rules"]}
    assert {"time per photo, ms", "size, MiB", "people"} <= names
    assert tags(2)["gate_against"] == "1"
    assert tags(2)["gate_photos_sha256"] == verdict["photos_sha256"]
    assert description(2).startswith("release 2\n\n## Gate\n\n**Passed**: version 2 against")
    path = f"runs:/{registry[2].run_id}/gate/against_1/verdict.json"
    assert json.loads(mlflow.artifacts.load_text(path)) == verdict
    # With nothing changed the verdict is reused.
    mlflow.MlflowClient().set_registered_model_alias("faceops", "champion", "1")
    replace(monkeypatch, "gate_release", None)
    assert promote(find_version("2"), root, WIDE).message == "it passed the gate against version 1"
    assert promote(find_version("2"), root, WIDE).message == "it is champion already"


def test_a_refused_challenger_stays_one_and_its_page_says_why(registry, root, monkeypatch):
    strict = WIDE.model_copy(update={"max_size_ratio": 0.6})
    with pytest.raises(RefusedError, match=r"version 1 stays champion: size: .* are allowed"):
        promote(registry[2], root, strict)
    replace(monkeypatch, "gate_release", None)  # a refusal is reused as a pass is
    with pytest.raises(RefusedError, match=r"0.6 times are allowed"):
        promote(registry[2], root, strict)
    assert find_version("1").aliases == ("champion",)
    assert tags(2)["gate"] == "refused"
    assert "0.6 times are allowed" in tags(2)["gate_reasons"]
    assert description(2).count("## Gate") == 1
    assert "**Refused**" in description(2)


def test_a_refusal_for_time_alone_is_measured_again(registry, root):
    def stored() -> StoredVerdict | None:
        photos = data_sha256(root / "data")
        return find_stored_verdict(registry[2], registry[1], strict, root, photos)

    strict = WIDE.model_copy(update={"max_latency_ratio": 0.01})
    with pytest.raises(RefusedError, match=r"stays champion: time per photo: .*0.01 times are all"):
        promote(registry[2], root, strict)
    assert tags(2)["gate"] == "refused"
    assert stored() is None
    time = "time a photo: 76 ms against 60, 1.26 times, and 1.25 times are allowed."  # as once
    for reasons, reused in ((time, False), (f"{time}\nsize: 9 MiB against 4.", True)):
        mlflow.MlflowClient().set_model_version_tag("faceops", "2", "gate_reasons", reasons)
        assert (stored() is not None) == reused


def test_a_version_that_was_rolled_back_is_never_promoted_automatically(registry, root):
    promote(registry[2], root, WIDE)
    rollback("it named the wrong people")
    result = gate_and_promote(2, root, WIDE, move=True, threads=1)
    assert (result["gate"], result["promoted"]) == ("withdrawn", False)
    assert "was rolled back" in result["message"]
    reason = "## Gate\n\n**Withdrawn**: rolled back from: it named the wrong people.\n"
    assert reason in description(2)
    assert promote(find_version("2"), root, WIDE).version == 2  # a person can, by a new verdict
    assert find_version("2").gate == "passed"


def test_a_rollback_need_not_wait_for_the_gate(registry, root, monkeypatch):
    promote(registry[2], root, WIDE, override="to roll back from")
    passing = StoredVerdict(passed=True, reasons="", markdown="")
    replace(monkeypatch, "stored_or_new_verdict", lambda *_: (rollback(), passing)[1])
    with pytest.raises(FaceOpsError, match=r"version 1 became champion meanwhile"):
        promote(registry[3], root, WIDE)
    assert find_version("champion").version == 1


def test_a_verdict_is_not_reused_for_other_photos_or_rules_or_if_it_is_incomplete(
    registry, root, monkeypatch
):
    photos = data_sha256(root / "data")
    one, two, three = (registry[number] for number in (1, 2, 3))
    gate_release(two, one, root, WIDE)
    assert find_stored_verdict(two, one, WIDE, root, photos)
    assert find_stored_verdict(two, one, WIDE, root, "other photos") is None
    with monkeypatch.context() as later:
        later.setattr("faceops.gate.promote.VERDICT_VERSION", 99)
        assert find_stored_verdict(two, one, WIDE, root, photos) is None
    assert find_stored_verdict(two, three, WIDE, root, photos) is None
    stricter = WIDE.model_copy(update={"max_tar_loss": 0.1})
    assert find_stored_verdict(two, one, stricter, root, photos) is None

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow.MlflowClient, "log_text", fails)
    with pytest.raises(KeyboardInterrupt):
        gate_release(two, one, root, stricter)
    assert find_stored_verdict(two, one, WIDE, root, photos) is None
    assert find_stored_verdict(two, one, stricter, root, photos) is None


def test_a_release_whose_people_are_not_known_is_refused(registry, root):
    with pytest.raises(RefusedError, match=r"it has seen are not known.*no comparison can be"):
        promote(registry[3], root, WIDE)


def test_without_a_champion_there_is_nothing_to_compare_with(registry, root):
    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    with pytest.raises(FaceOpsError, match=r"no version is champion.*faceops release rollback"):
        promote(registry[2], root, WIDE)


def test_before_there_is_a_champion_the_published_release_is_compared_with(
    registry, root, weights_dir, monkeypatch
):
    monkeypatch.setenv("FACEOPS_WEIGHTS", str(weights_dir))
    client = mlflow.MlflowClient()
    client.delete_registered_model_alias("faceops", "champion")
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[]")
    result = gate_and_promote(2, root, WIDE, move=True, threads=1)
    assert result["promoted"]
    assert "it passed the gate, against the published release" in result["message"]
    assert "version 2 against the published release" in description(2)
    assert tags(2)["gate_against"] == published_folder().name
    assert client.list_artifacts(registry[2].run_id, "gate/against_published")
    assert champion() == find_version("2")


def test_an_unsigned_release_is_neither_measured_nor_promoted_where_a_key_is_trusted(
    registry, root, tmp_path, monkeypatch
):
    key = write_key(tmp_path, "key").with_suffix(".pub")
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", str(key))
    refused = r"version 1 is refused: it is not signed"
    with pytest.raises(SignatureError, match=refused):
        gate_release(registry[4], registry[1], root, Gate())
    with pytest.raises(SignatureError, match="models:/faceops/4 is refused"):
        promote(registry[4], root, Gate(), override="a reason")
    assert champion() == registry[1]
