"""What the commands share: defaults, errors of arguments, printed names, missing packages."""

import io
import json
import sys
from argparse import Namespace

import pytest

from faceops.cli import build_parser, main, show
from faceops.dataset.synthetic.people import SyntheticSettings


def test_options_have_the_defaults_of_the_synthetic_settings():
    args = vars(build_parser().parse_args(["data", "synthetic"]))
    settings = vars(SyntheticSettings())
    shared = settings.keys() & args.keys()
    assert shared == settings.keys() - {"enrol_photos"}
    assert {name: args[name] for name in shared} == {name: settings[name] for name in shared}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (["data", "import", "tree", "photos", f"--limit-people={text}"],
             f"--limit-people: {text!r} is not a positive integer")
            for text in ("x", "0", "-3", "1.5", "")
        ),
        *(
            ([*command, "--threads", "0"], "--threads: '0' is not a positive")
            for command in (["data", "doctor"], ["evaluate"], ["release", "gate"])
        ),
        (["evaluate", "--protocol", "pears"], "'pears' (choose from"),
        (["people", "show", "-Ann"], "NAME; a name that begins with - needs -- before it: "),
        (["people", "rename", "Ann", "-A", "--gallery", "g"], "before it: OPTIONS -- -A"),
        (["identify", "p", "--out", "-o"], "that begins with - is written --OPTION=-o"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_name_after_two_dashes_may_begin_with_one():
    args = build_parser().parse_args(["people", "rename", "--gallery", "g", "--", "-A\udcff", "-B"])
    assert (args.name, args.new) == ("-A\\xff", "-B")


def test_control_characters_of_names_are_printed_as_escapes(capsys):
    show(Namespace(json=False), {}, ["Ann\x1b[2J\u202e: 1", "علی\u200cرضا\udce9"])
    assert capsys.readouterr().out == "Ann\\x1b[2J\\u202e: 1\nعلی\u200cرضا\\udce9\n"
    assert main(["people", "list", "--gallery", "a\x1bb"]) == 2
    assert "a\\x1bb" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_closed_streams_and_those_of_other_encodings_are_written_to(encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["weights", "path", "none"]) == 2
    show(Namespace(json=True), "Zoë \u674e \U0001f600 \udcff", "")
    sys.stdout.seek(0)
    assert json.load(sys.stdout) == "Zoë \u674e \U0001f600 \udcff"


@pytest.mark.parametrize(
    ("package", "module", "command", "extra"),
    [
        ("torch", "faceops.embedding.backbones.build", ["params", "show"], "rebuild"),
        ("starlette", "faceops.review.server", ["review", "--out", "found"], "review"),
    ],
)
def test_a_command_that_lacks_the_package_of_an_extra_names_the_extra(
    package, module, command, extra, monkeypatch, capsys
):
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(command) == 1
    assert capsys.readouterr().err.endswith(
        f"faceops {command[0]}: this needs the package {package}, which is not installed; "
        f"pip install 'faceops[{extra}]'.\n"
    )
