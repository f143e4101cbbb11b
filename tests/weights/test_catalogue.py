"""weights.toml states for each weight its purpose, its licence and its source."""

from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.weights import read_catalogue

ENTRY = """[tiny]
what = "a weight"
file = "tiny.onnx"
sha256 = "{sha256}"
size = 3
licence = "MIT"
terms = "ours"
"""


def test_every_weight_has_terms_and_a_source() -> None:
    catalogue = read_catalogue()
    assert {"yunet", "sface", "onet", "synthetic_people", "dlib"} <= set(catalogue)
    for weight in catalogue.values():
        assert len(weight.terms) > 40  # a sentence, not a word
        assert bool(weight.wheel) != bool(weight.npm)
        assert weight.member


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.format(sha256="abc"), r"tiny\.sha256 is wrong"),
        (ENTRY.format(sha256="0" * 64) + "colour = 1\n", r"tiny\.colour is wrong"),
        (ENTRY.format(sha256="0" * 64).replace("tiny.onnx", "../tiny"), r"tiny\.file is wrong"),
        (ENTRY.format(sha256="0" * 64) + 'wheel = "a==1"\n', "tiny is wrong: .*need member"),
        (
            ENTRY.format(sha256="0" * 64) + 'npm = "@a/b@1.0"\nmember = "c"\n',
            "tiny is wrong: .*npm needs integrity",
        ),
        ('tiny = "a string"\n', r"tiny\.what is wrong: Field required"),
        ("[tiny", "is not readable TOML"),
    ],
)
def test_a_wrong_catalogue_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "weights.toml"
    path.write_text(text)
    with pytest.raises(FaceOpsError, match=message):
        read_catalogue(path)
