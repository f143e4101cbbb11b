"""params.yaml: typed once, written whole, refused with a sentence."""

import subprocess
from pathlib import Path

import pytest
import yaml

from faceops.base.errors import UsageError
from faceops.config import Params, experiment_file, read_params, write_params


def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    params = Params.model_validate({"train": {"backbone": "resnet18"}, "validate": {"min_side": 9}})
    write_params(params, tmp_path / "params.yaml")
    assert read_params(tmp_path / "params.yaml") == params
    assert not (tmp_path / "params.yaml.tmp").exists()


def test_the_committed_params_are_the_demo_experiment(repository: Path, tmp_path: Path) -> None:
    demo = read_params(experiment_file(repository, "demo"))
    # As committed: a user who chose another experiment has not broken anything.
    committed = subprocess.run(
        ["git", "show", "HEAD:params.yaml"], cwd=repository, capture_output=True, check=False
    )
    path = repository / "params.yaml"
    if committed.returncode == 0:
        path = tmp_path / "params.yaml"
        path.write_bytes(committed.stdout)
    assert read_params(path) == demo


def test_every_named_experiment_is_read_back_as_it_was_written(
    repository: Path, tmp_path: Path
) -> None:
    named = sorted((repository / "experiments").glob("*.yaml"))
    assert named
    for path in named:
        params = read_params(path)
        write_params(params, tmp_path / "params.yaml")
        assert read_params(tmp_path / "params.yaml") == params
        miners = yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["miners"]
        assert list(miners.items()) == list(params.train.miners.items())  # in the same order


def test_every_parameter_is_described(tmp_path: Path) -> None:
    write_params(Params(), tmp_path / "params.yaml")
    lines = (tmp_path / "params.yaml").read_text().splitlines()
    keys = [line for line in lines if line.startswith("  ")]
    assert keys
    assert all("  # " in line and not line.endswith("None") for line in keys)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {backbone: vgg}", "train.backbone = 'vgg' is wrong"),
        ("train: {patience: yes}", "train.patience = True is wrong"),
        ("train: {flap: 1}", "there is no parameter train.flap"),
        ("nonsense: {}", "there is no parameter nonsense"),
        ("split: {train: 0.9}", "train + val + test must be 1"),
        ("- a list", "must hold sections of keys"),
        ("train: [", "is not readable YAML"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_that_names_the_key(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=str(path)) as refusal:
        read_params(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_absent_file_and_an_unknown_experiment_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_params(tmp_path / "none.yaml")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "night.yaml").write_text(yaml.safe_dump({}))
    with pytest.raises(UsageError, match="one of: night"):
        experiment_file(tmp_path, "day")
