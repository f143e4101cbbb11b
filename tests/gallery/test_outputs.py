"""The gallery's list of the folders that names were written to."""

from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.outputs import declare_gone, output_folders, remember_output
from faceops.gallery.storage import OUTPUTS_FILE


def test_folders_are_noted_once_and_in_order(tmp_path):
    out, odd, photos = (tmp_path / name for name in ("out", "odd\udce9", "photos"))
    for _ in range(2):
        assert remember_output(tmp_path, out) and remember_output(tmp_path, odd, photos)
    known = output_folders(tmp_path)
    assert known.folders == [out, odd] and known.sidecars == [photos]
    assert len((tmp_path / OUTPUTS_FILE).read_text().splitlines()) == 3


def test_a_folder_that_is_gone_is_not_listed_until_it_is_written_to_again(tmp_path):
    out, photos = tmp_path / "out", tmp_path / "photos"
    remember_output(tmp_path, out, photos)
    declare_gone(tmp_path, out)
    declare_gone(tmp_path, out)
    declare_gone(tmp_path, photos)
    assert output_folders(tmp_path) == ([], [], [out, photos])
    remember_output(tmp_path, out)
    assert output_folders(tmp_path) == ([out], [], [photos])
    out.mkdir()
    (out / "faces.csv").touch()
    with pytest.raises(UsageError, match="exists, so it is not gone"):
        declare_gone(tmp_path, out)


def test_old_lines_are_read_and_damaged_ones_refused(tmp_path):
    (tmp_path / OUTPUTS_FILE).write_text('"/somewhere"\n')
    assert output_folders(tmp_path).folders == [Path("/somewhere")]
    for broken in ("{", "3", '{"out": 3}', '{"in": "/a"}', '{"out": "/a", "gone": "/b"}'):
        (tmp_path / OUTPUTS_FILE).write_text(broken + "\n")
        with pytest.raises(FaceOpsError, match="is damaged"):
            output_folders(tmp_path)
