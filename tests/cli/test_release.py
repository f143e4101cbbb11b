"""`faceops release` on a real registry: what each action prints, leaves and exits with."""

import json

import pytest

from faceops.cli import main
from faceops.release.bundle import check_files


def test_list_shows_newest_first_with_aliases(registry, capsys):
    assert main(["release", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in (lines[0], lines[-1])] == [
        ["4", "challenger"],
        ["1", "champion"],
    ]


def test_show_says_when_and_why_it_was_champion(registry, capsys):
    assert main(["release", "show"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("models:/faceops/1 (champion), run ")
    assert "release 1" in shown
    assert " first by " in shown
    assert main(["release", "show", "challenger", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["version"], output["champion_log"]) == (4, [])
    assert output["tags"]["contract_id"] == registry[4].contract_id


def test_compare_shows_what_differs_and_nothing_else(registry, capsys):
    assert main(["release", "compare", "1", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"| contract_id | {registry[1].contract_id[:12]}..." in shown
    assert "faceops release gate 2 --against 1" in shown
    assert main(["release", "compare", "1", "4"]) == 0
    assert "lineage: all the same" in capsys.readouterr().out


def test_promote_and_rollback_by_command(registry, capsys):
    assert main(["release", "promote", "--override", "it is needed"]) == 0
    assert "version 4 is champion, over version 1: override: it is needed" in (
        capsys.readouterr().out
    )
    assert main(["release", "rollback", "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert (back["version"], back["before"], back["aliases"]) == (1, 4, ["champion"])
    assert main(["release", "rollback"]) == 1
    assert "no champion before version 1" in capsys.readouterr().err


def test_listing_without_a_store_creates_none(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["release", "list"]) == 0
    assert "no release yet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_export_writes_a_whole_bundle_into_a_new_folder(registry, tmp_path, capsys):
    out = tmp_path / "deep" / "bundle"
    assert main(["release", "export", "2", "--out", str(out)]) == 0
    assert check_files(out).contract_id == registry[2].contract_id
    assert main(["release", "export", "2", "--out", str(out)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "9"], 1, "there is no release 9"),
        (["show", "a b"], 2, "'a b' is not a version or alias"),
        (["gate", "1"], 2, "version 1 cannot be compared with itself"),
        (["promote", "4", "--override", " "], 2, "--override needs a reason"),
    ],
)
def test_wrong_calls_get_one_sentence(
    registry, arguments, code, says, capsys, repository, monkeypatch
):
    monkeypatch.chdir(repository)  # where params.yaml is
    assert main(["release", *arguments]) == code
    output = capsys.readouterr().err
    assert says in output
    assert output.count("\n") == 1
