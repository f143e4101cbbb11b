"""`faceops weights` lists the weights and their files."""

import json

from faceops.cli import main


def run(*argv: str) -> int:
    return main(["weights", *argv])


def test_list_shows_terms_and_place_and_goes_on_past_a_wrong_file(
    weights_dir, tmp_path, monkeypatch, capsys
):
    own = tmp_path / "onet.onnx"
    own.symlink_to((weights_dir / own.name).resolve())
    monkeypatch.setenv("FACEOPS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    assert run("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["onet"]["found"], rows["onet"]["path"]) == ("folder", str(own))
    assert (rows["sface"]["found"], rows["sface"]["path"]) == ("not yet fetched", None)
    assert run("list") == 0
    text = capsys.readouterr().out
    for part in (f"found:   folder {own}", "licence: Apache-2.0", "does not clear the rights"):
        assert part in text
    own.unlink()
    own.write_bytes(b"something else")
    assert run("list") == 1
    text = capsys.readouterr().out
    assert "onet.onnx is not the weight onet" in text and "synthetic_people: " in text


def test_fetch_and_path_print_the_path_of_the_verified_file(weights_dir, monkeypatch, capsys):
    monkeypatch.setenv("FACEOPS_WEIGHTS", str(weights_dir))
    path = str(weights_dir / "onet.onnx")
    assert run("fetch", "onet", "--json") == run("path", "onet") == 0
    fetched, _, printed = capsys.readouterr().out.rstrip().rpartition("\n")
    assert (json.loads(fetched), printed) == ({"onet": path}, path)


def test_a_misspelt_name_is_refused_before_anything_is_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FACEOPS_WEIGHTS", raising=False)
    assert run("fetch", "onet", "onett") == 2
    assert "no weight 'onett'; choose from yunet, sface" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
