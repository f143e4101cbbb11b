"""`faceops data`: defaults and errors of its options."""

import pytest

from faceops.cli import build_parser, main
from faceops.dataset.synthetic.people import SyntheticSettings


def test_options_have_the_defaults_of_the_synthetic_settings() -> None:
    args = vars(build_parser().parse_args(["data", "synthetic"]))
    settings = vars(SyntheticSettings())
    shared = settings.keys() & args.keys()
    assert shared == settings.keys() - {"enrol_photos"}
    assert {name: args[name] for name in shared} == {name: settings[name] for name in shared}


@pytest.mark.parametrize("text", ["x", "0", "-3", "1.5", ""])
def test_a_wrong_count_of_people_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["data", "import", "tree", "photos", f"--limit-people={text}"])
    assert exit_.value.code == 2
    assert f"--limit-people: {text!r} is no whole number of 1 or more" in capsys.readouterr().err
