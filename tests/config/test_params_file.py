"""Reading and writing params.yaml, and the sentences for mistakes in it."""

import subprocess

import pytest
import yaml

from faceops.base.errors import UsageError
from faceops.config.params_file import RENAMED_KEYS, experiment_file, read_params, write_params
from faceops.config.sections import Params
from faceops.embedding.backbones.build import check_train_params


def test_written_params_are_read_back_equal(tmp_path):
    params = Params.model_validate({"train": {"backbone": "resnet18"}, "validate": {"min_side": 9}})
    write_params(params, tmp_path / "params.yaml")
    assert read_params(tmp_path / "params.yaml") == params
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    (tmp_path / "params.yaml").write_text("train: {min_delta: 1e-06}")  # as DVC writes it
    assert read_params(tmp_path / "params.yaml").train.min_delta == 1e-6


def test_the_committed_params_are_the_demo_experiment(repository, tmp_path):
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


def test_every_experiment_loads_and_is_read_back_as_written(repository, tmp_path):
    paths = sorted((repository / "experiments").glob("*.yaml"))
    assert paths
    for path in paths:
        params = read_params(path)
        check_train_params(params.train, path)
        write_params(params, tmp_path / "params.yaml")
        assert read_params(tmp_path / "params.yaml") == params
        miners = yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["miners"]
        assert list(miners.items()) == list(params.train.miners.items())  # in the same order


def test_every_parameter_is_described(tmp_path):
    write_params(Params(), tmp_path / "params.yaml")
    lines = (tmp_path / "params.yaml").read_text().splitlines()
    keys = [i for i, line in enumerate(lines) if line.startswith("  ") and line[2] != "#"]
    assert keys
    for i in keys:
        assert "  # " in lines[i] or lines[i - 1].startswith("  # "), lines[i]
    assert not any(line.endswith("None") for line in lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {device: tpu}", "train.device = 'tpu' is wrong"),
        ("train: {patience: yes}", "train.patience = True is wrong"),
        ("train: {flap: 1}", "there is no parameter train.flap"),
        ("nonsense: {}", "there is no parameter nonsense"),
        ("split: {train: 0.9}", "train + val + test must be 1"),
        ("- a list", "must contain sections of keys"),
        ("train: [", "is not readable YAML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(tmp_path, text, says):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=str(path)) as refusal:
        read_params(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_an_old_key_is_refused_with_the_new_one(tmp_path, old, new):
    section, key = new.split(".")
    assert key in type(getattr(Params(), section)).model_fields
    path = tmp_path / "params.yaml"
    section, key = old.split(".")
    path.write_text(yaml.safe_dump({section: {key: 1.0}}))
    with pytest.raises(UsageError) as refusal:
        read_params(path)
    assert str(refusal.value) == f"{path}: {old} is now {new}; rename it."


def test_all_old_names_are_listed_in_one_sentence(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: {tolerance: 0.0, warmup_draws: photos}\ngate: {repeats: 100}")
    with pytest.raises(UsageError) as refusal:
        read_params(path)
    assert str(refusal.value) == (
        f"{path}: train.tolerance is now train.min_delta, train.warmup_draws = photos is now"
        " train.warmup_sampler = uniform, gate.repeats is now gate.resamples; rename them."
    )


def test_a_missing_file_and_an_unknown_experiment_are_named(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_params(tmp_path / "none.yaml")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "night.yaml").write_text(yaml.safe_dump({}))
    with pytest.raises(UsageError, match="one of: night"):
        experiment_file(tmp_path, "day")
