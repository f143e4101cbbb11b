"""Names in params.yaml are checked against the registries before anything runs."""

from pathlib import Path

import pytest
import torch

from faceops.base.errors import UsageError
from faceops.cli import main
from faceops.config.sections import Train
from faceops.embedding.backbones.build import BACKBONES, build_backbone
from faceops.embedding.check_params import check_train_params
from faceops.embedding.heads import HEADS, CosFace
from faceops.embedding.miners import MINERS
from faceops.embedding.training.training_loop import start_model

PATH = Path("params.yaml")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backbone": "vgg"}, "train.backbone = 'vgg' is unknown; set it to one of pretrained,"),
        ({"input_size": 96}, "train.backbone = pretrained is SFace, which needs"),
        ({"head": "arc"}, "train.head = 'arc' is unknown; set it to one of softmax, cosface,"),
        ({"head_margin": 1.2}, "train.head_margin = 1.2 is out of range; cosface"),
        ({"miners": {"easy": 1.0}}, "train.miners: there is no miner 'easy'; use random,"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(changes: dict, sentence: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_train_params(Train(**changes), PATH)
    assert str(refusal.value).startswith(f"params.yaml: {sentence}")


def test_params_use_refuses_an_unknown_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("train: {backbone: vgg}")
    assert main(["params", "use", "mine.yaml"]) == 2
    assert "mine.yaml: train.backbone = 'vgg' is unknown" in capsys.readouterr().err
    assert not PATH.exists()


def test_an_entry_of_a_registry_is_a_choice_of_params(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(embedding_size: int, input_size: int, colour: str) -> torch.nn.Module:
        return build_backbone("resnet18", embedding_size, input_size, colour)

    monkeypatch.setitem(BACKBONES, "toy", build)
    monkeypatch.setitem(HEADS, "toy", CosFace)
    monkeypatch.setitem(MINERS, "toy", MINERS["batch_all"])
    settings = Train(
        backbone="toy", head="toy", miners={"toy": 1.0}, embedding_size=8, input_size=32
    )
    check_train_params(settings, PATH)
    crops = torch.zeros(2, 3, 112, 112)
    assert start_model(settings, None).eval()(crops).shape == (2, 8)
