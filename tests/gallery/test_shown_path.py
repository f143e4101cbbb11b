"""A path that is shown with backslash codes leads back to its file."""

from pathlib import Path

from faceops.gallery.names import valid_unicode
from faceops.gallery.people_folder import paths_shown_as


def test_bytes_that_are_no_unicode_are_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    real = [folder / "b\udcff.jpg", folder / "b\\xff.jpg"]
    for path in [*real, folder / "plain.jpg"]:
        path.touch()
    shown = valid_unicode(real[0].relative_to(tmp_path).as_posix())
    assert shown == "caf\\xe9/b\\xff.jpg"
    assert sorted(paths_shown_as(tmp_path, shown)) == sorted(real)
    assert paths_shown_as(tmp_path, "caf\\xe9/plain.jpg") == [folder / "plain.jpg"]
    assert paths_shown_as(tmp_path, "caf\\xe9/none.jpg") == []
    assert paths_shown_as(tmp_path, "none\\xe9/none.jpg") == []
