"""What is read of a bundle first: its default budget, and whether a trusted key has signed it."""

import datetime
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from faceops.base.errors import UsageError
from faceops.cli import main
from faceops.release.bundle import Bundle
from faceops.release.release_file import SIGNATURE_FILE, SignatureError, default_budget, sign
from faceops.release.served_interface import example_photo
from faceops.serving.pyfunc import _load_pyfunc

Patch = pytest.MonkeyPatch
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
INFO = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


def write_key(folder: Path, name: str, curve: ec.EllipticCurve | None = None) -> Path:
    """Write name.pem and name.pub, as `openssl genpkey` and `openssl pkey -pubout` do."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    (folder / f"{name}.pem").write_bytes(key.private_bytes(PEM, PKCS8, PLAIN))
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(PEM, INFO))
    return folder / f"{name}.pem"


def test_the_default_budget_is_read_without_models(tiny_folder, tmp_path):
    assert default_budget(tiny_folder) == 0.1
    assert default_budget(tiny_folder, "int8") is None
    assert default_budget(tmp_path) is None


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public key is key.pub beside it."""
    return write_key(tmp_path, "key")


@pytest.fixture
def signed(tiny_folder: Path, tmp_path: Path, key: Path, monkeypatch: Patch) -> Path:
    """A copy of the tiny release, signed by `key`, which is trusted."""
    folder = tmp_path / "signed"
    shutil.copytree(tiny_folder, folder)
    sign(folder, key)
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", str(key.with_suffix(".pub")))
    return folder


def edit_release(folder: Path) -> None:
    path = folder / "release.json"
    path.write_text(path.read_text().replace("Apache-2.0", "MIT"))


def cut_signature(folder: Path) -> None:
    path = folder / SIGNATURE_FILE
    path.write_bytes(path.read_bytes()[:500])


def sign_by_another(folder: Path) -> None:
    sign(folder, write_key(folder.parent, "other", ec.SECP384R1()))


TAMPERED: list[tuple[Callable[[Path], object], str]] = [
    (lambda it: (it / ".gitignore").touch(), "Extra files .*: .gitignore"),
    (lambda it: shutil.copytree(it, it / "more"), "Extra files .* more/embedder.onnx"),
    (lambda it: (it / "verifier.onnx").unlink(), "Missing files .*verifier.onnx"),
    (edit_release, "Hash mismatch for 'release.json'"),
    (lambda it: (it / "a").symlink_to(it / "release.json"), "signature is not valid for"),
    (lambda it: (it / SIGNATURE_FILE).unlink(), r"not signed \(it has no model.sig"),
    (lambda it: (it / SIGNATURE_FILE).write_text("[]"), "is not valid for"),
    (cut_signature, "signature is not valid for"),
    (sign_by_another, r"signature is not valid for .*key\.pub"),
]


@pytest.mark.parametrize(("tamper", "pattern"), TAMPERED)
def test_what_is_not_as_signed_is_refused_before_a_model_is_loaded(
    signed, tamper, pattern, monkeypatch
):
    tamper(signed)
    monkeypatch.setattr(onnxruntime, "InferenceSession", None)
    with pytest.raises(SignatureError, match=f"^the release is refused: .*{pattern}") as caught:
        Bundle.load(signed, name="the release")
    assert "\n" not in str(caught.value)
    with pytest.raises(SignatureError, match=pattern):
        _load_pyfunc(str(signed))


def test_a_signed_bundle_loads_by_any_of_the_trusted_keys(
    signed, tiny_bundle, tmp_path, monkeypatch
):
    assert Bundle.load(signed).release == tiny_bundle.release
    write_key(tmp_path, "new", ec.SECP521R1())
    both = os.pathsep.join(str(tmp_path / f"{name}.pub") for name in ("new", "key"))
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", both)
    moved = signed.rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(moved)  # as a cache on another disk
    Bundle.load(tmp_path / "link")
    edit_release(moved)  # the reason is that of the key that signed it, in whatever order
    with pytest.raises(SignatureError, match="not those that were signed"):
        Bundle.load(moved)


def test_without_a_trusted_key_nothing_is_verified(signed, monkeypatch):
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", os.pathsep)  # of a shell variable that is not set
    with pytest.raises(UsageError, match=r"names \., which is not"):
        Bundle.load(signed)
    monkeypatch.delenv("FACEOPS_TRUSTED_KEYS")
    monkeypatch.setattr("faceops.release.release_file.verify", None)
    (signed / "notes.txt").touch()
    Bundle.load(signed)


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: tuple | None, signs: bool
) -> x509.Certificate:
    """Return a certificate of `key`; `issuer` is (certificate, key), or None for a root."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    usage = {name: False for name in x509.KeyUsage.__init__.__annotations__ if name != "return"}
    usage |= {"digital_signature": signs, "key_cert_sign": issuer is None}
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
        .add_extension(x509.KeyUsage(**usage), True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )


def test_a_root_certificate_trusts_the_certificates_that_it_issued(signed, tmp_path, monkeypatch):
    roots = []
    for name in ("ours", "theirs"):
        key = ec.generate_private_key(ec.SECP256R1())
        roots.append((certificate(name, key, None, False), key))
        (tmp_path / f"{name}.crt").write_bytes(roots[-1][0].public_bytes(PEM))
    mine = ec.generate_private_key(ec.SECP256R1())
    for issuer, signs, accepted in ((0, True, True), (1, True, False), (0, False, False)):
        pem = mine.private_bytes(PEM, PKCS8, PLAIN)
        pem += certificate("signer", mine, roots[issuer], signs).public_bytes(PEM)
        (tmp_path / "mine.pem").write_bytes(pem)
        sign(signed, tmp_path / "mine.pem")
        monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", str(tmp_path / "ours.crt"))
        if accepted:
            Bundle.load(signed)
        else:
            with pytest.raises(SignatureError, match="is not valid for"):
                Bundle.load(signed)


def test_the_commands_sign_verify_and_refuse(tiny_folder, key, tmp_path, monkeypatch, capsys):
    bundle, gallery = tmp_path / "bundle", tmp_path / "gallery"
    shutil.copytree(tiny_folder, bundle)
    people = tmp_path / "people" / "Ann"
    people.mkdir(parents=True)
    (people / "1.jpg").write_bytes(example_photo())
    release = ["--gallery", str(gallery), "--bundle", str(bundle)]
    enrol = ["enrol", str(tmp_path / "people"), *release]
    identify = ["identify", str(people), "--out", str(tmp_path / "found"), *release]
    assert main(enrol) == 0 and main(identify) == 0

    public = str(key.with_suffix(".pub"))
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", public)
    capsys.readouterr()
    # Nothing has changed in the photos, but the results are of a bundle that nobody signed.
    for command in (enrol, identify, ["release", "verify", str(bundle)]):
        assert main(command) == 1
        assert "is refused: it is not signed" in capsys.readouterr().err
    assert main(["release", "sign", str(bundle)]) == 2
    assert "give --key PEM" in capsys.readouterr().err
    monkeypatch.setenv("FACEOPS_SIGN_KEY", str(key))
    assert main(["release", "sign", str(bundle), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["signed_by"]) == 64
    assert main(["release", "verify", str(bundle), "--key", public]) == 0
    assert main(enrol) == 0 and main(identify) == 0
    capsys.readouterr()
    (bundle / "notes.txt").touch()
    assert main(identify) == 0  # no model is loaded for it
    assert "nothing has changed" in capsys.readouterr().out
    (bundle / "notes.txt").unlink()
    monkeypatch.delenv("FACEOPS_TRUSTED_KEYS")
    assert main(["release", "verify", str(bundle)]) == 2


LOCKED = serialization.BestAvailableEncryption(b"password")
UNUSABLE: dict[str, Callable[[], bytes]] = {
    "encrypted": lambda: ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, LOCKED),
    "rsa": lambda: rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, PLAIN),
    "curve": lambda: ec.generate_private_key(ec.SECP256K1()).private_bytes(PEM, PKCS8, PLAIN),
    "text": lambda: b"sekret",
}


@pytest.mark.parametrize("kind", [*UNUSABLE, "public", "missing"])
def test_a_key_that_cannot_be_used_is_named_but_not_shown(
    tiny_folder, kind, key, monkeypatch, capsys
):
    path = key.with_suffix(".pub") if kind == "public" else key.with_name(kind)
    if kind in UNUSABLE:
        path.write_bytes(UNUSABLE[kind]())
    assert main(["release", "sign", str(tiny_folder), "--key", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and "sekret" not in error and error.count("\n") == 1
    assert not (tiny_folder / SIGNATURE_FILE).exists()
    if kind == "public":
        path = key  # the private key is not one to verify with
    monkeypatch.setenv("FACEOPS_TRUSTED_KEYS", str(path))
    assert main(["release", "verify", str(tiny_folder)]) == 2
    assert str(path) in capsys.readouterr().err
