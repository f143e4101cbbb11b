"""What is read of a bundle before it is loaded: release.json, and its signature model.sig.

An unchanged run reads both without loading NumPy and pydantic.

The signature is made when a bundle is registered, and verified before use. It is that of OpenSSF
model signing: the sha256 of every other file, signed by an elliptic-curve key, with or without its
certificate. The package is optional, and imported where a key is named.
"""

import ast
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_path, read_json_object

RELEASE_FILE = "release.json"
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PrecisionChoice = Literal["float32", "int8", "auto"]  # auto: see `precision_for`
PRECISION_CHOICES: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)


class DamagedBundleError(FaceOpsError):
    """A file of a bundle was changed after it was written."""


def default_budget(bundle: Path, precision: str = "float32") -> float | None:
    """Return the default budget of the release in `bundle`, None if it cannot be read.

    It reads no more than needed to find an earlier run; `Bundle.load` reports what is wrong.
    """
    try:
        content = read_json_object(bundle / RELEASE_FILE)
        chosen = content if precision == "float32" else content[precision]
        return float(chosen["thresholds"]["default_budget"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stated_contract(content: Mapping[str, Any], precision: Precision = "float32") -> str:
    """Return the contract id that the `content` of a release.json states, "" if it has none."""
    chosen = content if precision == "float32" else content.get(precision) or {}
    return str(chosen.get("contract_id", ""))


def precision_for(
    content: Mapping[str, Any], choice: PrecisionChoice, contract_id: str
) -> Precision:
    """Return `choice`; of auto int8 if the release.json `content` has it under `contract_id`."""
    if choice != "auto":
        return choice
    return "int8" if contract_id and contract_id == stated_contract(content, "int8") else "float32"


def is_of(content: Mapping[str, Any], choice: PrecisionChoice, contract_id: str) -> bool:
    """Return whether the release.json `content` states `contract_id` for its embedder `choice`."""
    precision = precision_for(content, choice, contract_id)
    return bool(contract_id) and contract_id == stated_contract(content, precision)


def is_synthetic(data: object) -> bool:
    """Return whether a release was made of synthetic people; `data` is that of its release.json."""
    sources = data.get("sources") if isinstance(data, Mapping) else None
    return isinstance(sources, Mapping) and "synthetic" in sources


SIGNATURE_FILE = "model.sig"
TRUSTED_KEYS = "FACEOPS_TRUSTED_KEYS"  # environment: PEM files, separated as in PATH
SIGN_KEY = "FACEOPS_SIGN_KEY"  # environment: the PEM file of a private key
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CHANGED = "Signature mismatch: "
_CURVES = "of an elliptic-curve key (P-256, P-384 or P-521)"


class SignatureError(DamagedBundleError):
    """A bundle that no trusted key has signed as it is."""


def trusted_keys() -> list[Path]:
    """Return the PEM files that FACEOPS_TRUSTED_KEYS names; none if it is not set or empty.

    Raises UsageError: one of them does not exist.
    """
    named = os.environ.get(TRUSTED_KEYS)
    keys = [Path(name).expanduser() for name in named.split(os.pathsep)] if named else []
    for key in keys:  # also an empty name: a lone separator must not switch the check off
        if not key.is_file():
            raise UsageError(f"{TRUSTED_KEYS} names {key}, which is not a file; correct it.")
    return keys


def signing_key() -> Path | None:
    """Return the private key that FACEOPS_SIGN_KEY names, None if it is not set."""
    named = os.environ.get(SIGN_KEY)
    return Path(named).expanduser() if named else None


def require_trusted(folder: Path, name: str) -> None:
    """Verify the bundle in `folder` if FACEOPS_TRUSTED_KEYS is set; `name` is for messages.

    Raises: as `trusted_keys` and `verify`.
    """
    if keys := trusted_keys():
        verify(folder, keys, name)


def sign(folder: Path, key: Path) -> str:
    """Write `folder`/model.sig over all other files; return the sha256 of the public key, hex.

    Args:
        key: PEM file of a private key without a password; with certificates in the same file, the
            key's own first, the signature holds these.

    Raises:
        UsageError: `key` cannot be used.
        FaceOpsError: model-signing is not installed, or `folder` cannot be written.
    """
    config = _config("signing")
    from cryptography.hazmat.primitives import serialization

    try:
        content = key.read_bytes()
        if _CERTIFICATE in content:
            config.use_certificate_signer(
                private_key=key, signing_certificate=key, certificate_chain=[key]
            )
        else:
            config.use_elliptic_key_signer(private_key=key)
        public = serialization.load_pem_private_key(content, None).public_key()
    except OSError as error:
        raise UsageError(f"{key} cannot be read ({error.strerror}); name a private key.") from None
    except Exception:  # noqa: BLE001  its kind depends on the content, which no message shows
        raise UsageError(
            f"{key} is not the PEM file of a private key {_CURVES} without a password, and of its "
            "certificate if it has one; see docs/releases.md."
        ) from None
    try:
        with atomic_path(folder / SIGNATURE_FILE) as temporary:
            config.sign(folder.resolve(), temporary)
    except (OSError, ValueError) as error:  # ValueError: a link or a special file
        raise FaceOpsError(f"{folder} cannot be signed ({error}); correct that.") from None
    der, info = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(der, info)).hexdigest()


def verify(folder: Path, keys: list[Path], name: str = "") -> Path:
    """Check that one of `keys` has signed the bundle in `folder`, all files of it; return that key.

    Args:
        keys: PEM files: public keys, or root certificates, which trust each certificate that they
            issued for signatures.
        name: of the bundle, for messages; default: `folder`.

    Raises:
        SignatureError: it is not signed by these keys, or a file was added, removed or changed.
        UsageError: a key cannot be used.
        FaceOpsError: model-signing is not installed.
    """
    name, folder = name or str(folder), folder.resolve()
    configs = []
    for key in keys:
        config = _config("verifying")
        try:
            if _CERTIFICATE in key.read_bytes():
                config.use_certificate_verifier(certificate_chain=[key])
            else:
                config.use_elliptic_key_verifier(public_key=key)
        except Exception:  # noqa: BLE001  its kind depends on the content
            raise UsageError(
                f"{key} is not the PEM file of a root certificate or a public key {_CURVES}; see "
                "docs/releases.md."
            ) from None
        configs.append(config)
    reason = f"its signature is not valid for {' or '.join(map(str, keys))}"
    for key, config in zip(keys, configs, strict=True):
        try:
            config.verify(folder, folder / SIGNATURE_FILE)
            return key
        except Exception as error:  # noqa: BLE001  whatever went wrong, it is not verified
            if str(error).startswith(_CHANGED):
                reason = "its files are not those that were signed"
                with suppress(ValueError, SyntaxError):
                    differences = ast.literal_eval(str(error).removeprefix(_CHANGED))
                    short = (text.partition(": Expected")[0] for text in differences)
                    reason += f": {'; '.join(short)}"  # without digests
    if not (folder / SIGNATURE_FILE).is_file():
        reason = f"it is not signed (it has no {SIGNATURE_FILE})"
    raise SignatureError(
        f"{name} is refused: {reason}; use a release that a trusted key has signed, or sign your "
        "own (`faceops release register --sign-key`)."
    )


def _config(kind: str) -> Any:
    """Return a configuration of model_signing's module `kind`.

    It hashes all files of a bundle except the signature, by sha256, and refuses links.
    """
    try:
        import model_signing
    except ModuleNotFoundError:
        raise FaceOpsError(
            "signatures need the package model-signing, which is not installed; "
            "pip install 'faceops[signing]'."
        ) from None
    hashing = model_signing.hashing.Config()
    hashing.set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
    return getattr(model_signing, kind).Config().set_hashing_config(hashing)
