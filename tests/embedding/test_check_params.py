"""Names in params.yaml are checked against the registries before anything runs."""

from pathlib import Path

import pytest
import torch

from faceops.base.errors import UsageError
from faceops.cli import main
from faceops.config.sections import Train
from faceops.embedding.backbones.build import (
    BACKBONES,
    check_train_params,
    load_model,
    save_model,
    start_model,
)
from faceops.embedding.embedder import Embedder, InputStage
from faceops.embedding.losses import HEADS, MINERS, ClassificationHead, Triplets
from faceops.embedding.training.inputs import build_inputs
from faceops.embedding.training.training_loop import Trainer
from tests.embedding.faces_for_training import coloured_people, tiny_training

PATH = Path("params.yaml")


def toy_backbone(embedding_size: int, input_size: int, colour: str) -> Embedder:
    stage = InputStage(input_size, colour)
    head = torch.nn.Linear(stage.channels * input_size**2, embedding_size)
    trunk = torch.nn.Sequential(stage, torch.nn.Flatten())
    return Embedder("toy", embedding_size, trunk, head, input_size, colour)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backbone": "vgg"}, "train.backbone = 'vgg' is unknown; set it to one of pretrained,"),
        ({"input_size": 96}, "train.backbone = pretrained is SFace, which needs"),
        ({"head": "arc"}, "train.head = 'arc' is unknown; set it to one of softmax, cosface,"),
        ({"head_margin": 1.2}, "train.head_margin = 1.2 is out of range; cosface"),
        ({"miners": {"easy": 1.0}}, "train.miners: there is no miner 'easy'; use semi_hard,"),
        ({"frozen_units": 26}, "train.frozen_units = 26, but pretrained has 25; set it"),
        ({"warmup_loss": "distillation"}, "train.warmup_loss = distillation needs train.freeze"),
        (
            {"warmup_loss": "distillation", "backbone": "resnet18", "freeze": False},
            "train.warmup_loss = distillation needs a start that was trained",
        ),
        (
            {"start_share": 0.3, "backbone": "resnet18"},
            "train.start_share = 0.3 needs a start that",
        ),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(changes, sentence):
    with pytest.raises(UsageError) as refusal:
        check_train_params(Train(**changes), PATH)
    assert str(refusal.value).startswith(f"params.yaml: {sentence}")


def test_params_use_refuses_an_unknown_backbone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("train: {backbone: vgg}")
    assert main(["params", "use", "mine.yaml"]) == 2
    assert "mine.yaml: train.backbone = 'vgg' is unknown" in capsys.readouterr().err
    assert not PATH.exists()


class ToyHead(ClassificationHead):
    def apply_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        return 0.9 * cosines


def toy_miner(distances: torch.Tensor, labels: torch.Tensor, margin: float) -> Triplets:
    pair = torch.nonzero(labels[0] == labels[1:])[:1, 0] + 1
    return torch.zeros_like(pair), pair, torch.nonzero(labels != labels[0])[:1, 0]


@pytest.mark.parametrize("kind", ["backbone", "head", "miner"])
def test_one_new_entry_of_a_registry_is_a_choice_of_params_and_trains(kind, tmp_path, monkeypatch):
    entries: dict[str, tuple[dict, object, dict]] = {
        "backbone": (BACKBONES, toy_backbone, {"backbone": "toy"}),
        "head": (HEADS, ToyHead, {"head": "toy"}),
        "miner": (MINERS, toy_miner, {"miners": {"toy": 1.0}}),
    }
    registry, entry, chosen = entries[kind]
    monkeypatch.setitem(BACKBONES, "small", toy_backbone)
    monkeypatch.setitem(registry, "toy", entry)
    settings = tiny_training(**{"backbone": "small", "triplet_epochs": 1} | chosen)
    check_train_params(settings, PATH)
    train, val = coloured_people(4, 3), coloured_people(3, 3, seed=1)
    model = start_model(settings, None)
    inputs = build_inputs(model, train, val, settings, tmp_path, torch.device("cpu"))
    result = Trainer(model, inputs, settings, tmp_path).fit()
    assert [row["phase"] for row in result.history] == ["start", "warmup", "triplet"]
    if kind == "backbone":
        save_model(model, tmp_path)
        assert load_model(tmp_path).backbone == "toy"
