"""Write a bundle: ONNX files, the verifier as a graph and back, the int8 offer, release.json."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper
from pydantic import BaseModel, ConfigDict

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder, sha256_file, stage_output, write_file, write_json
from faceops.faces.detector import with_symbolic_size
from faceops.release import contract
from faceops.release.bundle import Bundle
from faceops.release.contract import Alignment, Int8, Release, WeightFile, add_metadata, raw_output
from faceops.release.joined_embedder import raw_embedding
from faceops.release.onnx_graph import IR_VERSION, embedding_size
from faceops.release.release_file import RELEASE_FILE
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Calibration, Verifier
from faceops.weights import Weight

METHOD_KEY = "calibration"  # in the metadata


def serialise(model: onnx.ModelProto) -> bytes:
    """Return the model's bytes; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def load_network(file: Path) -> onnx.ModelProto:
    """Return an embedder without the output that `embedder_file` added."""
    model = onnx.load(file)
    del model.graph.output[1:]
    return model


def embedder_file(model: onnx.ModelProto) -> tuple[bytes, dict[str, str | None]]:
    """Return the file of an embedder, with its raw embedding as a second output.

    Also returns what `WeightFile` states of it. The contract id is made of the file without that
    output, which changes no embedding.

    `model`: with the one output "embeddings".
    """
    graph, raw = serialise(model), raw_embedding(model)
    content = graph + raw_output(raw)
    return content, {
        "sha256": hashlib.sha256(content).hexdigest(),
        "graph_sha256": hashlib.sha256(graph).hexdigest() if raw else None,
        "raw_embedding": raw,
    }


# In the source of an embedder.
AS_PUBLISHED = "as published, not trained further"
MIRRORED = ", averaged with mirrored crops"


def is_sface_as_published(backbone: str, start: str, epochs: int) -> bool:
    """Return whether an embedder is the published SFace, with no `epochs` of training since.

    `backbone` and `start` are those of the section `train` of params.yaml.
    """
    return backbone == "pretrained" and not start and not epochs


@dataclass(frozen=True)
class BundleModels:
    embedder: onnx.ModelProto  # with the input and output of `Preprocessing`
    embedder_weight: WeightFile  # its licence and source; `write_bundle` fills in the sha256
    verifier: Verifier  # calibrated
    thresholds: Thresholds  # of embedder and verifier
    detector: Path  # the published YuNet file
    landmarks: Path  # the published O-Net file


def write_bundle(
    folder: Path,
    models: BundleModels,
    alignment: Alignment,
    catalogue: dict[str, Weight],
    *,
    opset: int,
    params: dict[str, Any],
    data: dict[str, Any],
) -> Release:
    """Write the bundle `folder` (replaced as a whole) and return its release.

    Args:
        catalogue: states the licences of YuNet and O-Net.
        params: of the stages up to export, to be recorded.
        data: the photos it was trained on, to be recorded.
    """
    embedder, stated = embedder_file(models.embedder)
    fitted = WeightFile(sha256="", licence="as this project", source="fitted by this pipeline")
    verifier = serialise(verifier_graph(models.verifier, opset))
    detector = with_symbolic_size(models.detector.read_bytes())
    files = {
        contract.EMBEDDER: (embedder, models.embedder_weight),
        contract.VERIFIER: (verifier, fitted),
        contract.DETECTOR: (detector, _published("yunet", catalogue)),
        contract.LANDMARKS: (models.landmarks.read_bytes(), _published("onet", catalogue)),
    }
    release = Release(
        contract_id="",
        embedding_size=embedding_size(models.embedder),
        preprocessing=contract.Preprocessing(),
        alignment=alignment,
        verifier_kind=models.verifier.kind,
        weights={
            name: origin.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
            for name, (content, origin) in files.items()
        },
        thresholds=models.thresholds,
        params=params,
        data=data,
    )
    release = release.with_embedder(stated)
    with atomic_folder(folder) as temporary:
        for name, (content, _) in files.items():
            (temporary / name).write_bytes(content)
        contract.write_release(release, temporary)
    return release


def _published(name: str, catalogue: dict[str, Weight]) -> WeightFile:
    weight = catalogue[name]
    return WeightFile(sha256="", licence=weight.licence, source=f"{name}: {weight.what}")


def verifier_graph(verifier: Verifier, opset: int) -> onnx.ModelProto:
    """Return the model: `a`, `b` float32 (batch, D) -> `probability` float32 (batch,).

    `pair_verifier` reads the initialisers by name.
    """
    size = len(verifier.weight)
    isotonic = len(verifier.calibration.knots) > 0
    values = {"weight": verifier.weight, "bias": np.array(verifier.bias)}
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squared"]),
        helper.make_node("MatMul", ["squared", "weight"], ["evidence"]),
        helper.make_node("Add", ["evidence", "bias"], ["raw" if isotonic else "logit"]),
    ]
    if isotonic:
        nodes += _calibration_nodes()
        values |= _calibration_values(verifier.calibration)
    nodes.append(helper.make_node("Sigmoid", ["logit"], ["probability"]))
    initialisers = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in values.items()]
    if isotonic:
        initialisers.append(numpy_helper.from_array(np.array([1], np.int64), "last_axis"))
    describe, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [describe(name, kind, ["batch", size]) for name in ("a", "b")]
    outputs = [describe("probability", kind, ["batch"])]
    graph = helper.make_graph(nodes, "verifier", inputs, outputs, initialisers)
    model = helper.make_model(
        graph, producer_name="faceops", opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METHOD_KEY: verifier.calibration.method})
    onnx.checker.check_model(model, full_check=True)
    return model


def _calibration_values(calibration: Calibration) -> dict[str, np.ndarray]:
    knots, log_odds = (np.asarray(v, np.float32) for v in (calibration.knots, calibration.log_odds))
    return {
        "first_knot": knots[0],
        "last_knot": knots[-1],
        "first_log_odds": log_odds[0],
        "starts": knots[:-1],
        "widths": np.diff(knots),
        "rises": np.diff(log_odds),
        "zero": np.array(0),
        "one": np.array(1),
    }


def _calibration_nodes() -> list[onnx.NodeProto]:
    """Return the nodes from "raw" (batch,) to "logit" (batch,): a piecewise linear function.

    Each interval between two knots adds its rise times the share of it below the raw logit. All
    terms have one sign, so that float32 loses no precision, unlike a sum of changes of slope.
    """
    return [
        helper.make_node("Clip", ["raw", "first_knot", "last_knot"], ["inside"]),
        helper.make_node("Sub", ["raw", "inside"], ["outside"]),
        helper.make_node("Unsqueeze", ["inside", "last_axis"], ["column"]),
        helper.make_node("Sub", ["column", "starts"], ["past"]),
        helper.make_node("Div", ["past", "widths"], ["part"]),
        helper.make_node("Clip", ["part", "zero", "one"], ["share"]),
        helper.make_node("MatMul", ["share", "rises"], ["risen"]),
        helper.make_node("Add", ["risen", "first_log_odds"], ["between"]),
        helper.make_node("Add", ["between", "outside"], ["logit"]),
    ]


def pair_verifier(bundle: Bundle) -> Verifier:
    """Return the verifier that `bundle`'s verifier.onnx computes.

    Raises FaceOpsError: the file is not a verifier of this project, or not for these embeddings.
    """
    path = bundle.folder / contract.VERIFIER
    try:
        model = onnx.load(path)
        values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
        # Older files have no method: all calibrations were Platt's.
        method = {p.key: p.value for p in model.metadata_props}.get(METHOD_KEY, "platt")
        knots = log_odds = np.zeros(0, np.float32)
        if "rises" in values:
            knots = np.append(values["starts"], values["last_knot"])
            rises = values["rises"].astype(np.float64)
            log_odds = values["first_log_odds"] + np.append(0, np.cumsum(rises))
        known = bundle.release.thresholds.normalisation
        verifier = Verifier(
            values["weight"],
            float(values["bias"]),
            bundle.release.verifier_kind,
            Calibration(method, knots, log_odds.astype(np.float32)),
            tuple(known.parts) if known else (),
        )
    except (OSError, DecodeError, KeyError, ValueError, TypeError) as error:
        raise FaceOpsError(
            f"{path} is not a pair verifier of this project ({type(error).__name__}: {error}); "
            "export the bundle again."
        ) from None
    if len(verifier.weight) != bundle.release.embedding_size:
        raise FaceOpsError(
            f"{path} compares embeddings of {len(verifier.weight)} numbers, release.json says "
            f"{bundle.release.embedding_size}; export the bundle again."
        )
    return verifier


OFFER_FILE = "int8.json"


class Offer(BaseModel):
    """The content of int8.json; `int8` is None if none is offered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_from: str  # contract id of the float32 release
    int8: Int8 | None


def write_offer(folder: Path, offer: Offer, embedder: bytes) -> None:
    """Write int8.json to `folder` and, if int8 is offered, the file `embedder`.

    Raises FaceOpsError: it cannot be written.
    """
    (folder / contract.EMBEDDER_INT8).unlink(missing_ok=True)
    if offer.int8 is not None:
        write_file(folder / offer.int8.file, embedder)
    write_json(folder / OFFER_FILE, offer.model_dump(mode="json"))


def with_int8(release: Release, folder: Path) -> Release:
    """Return `release` with the int8 that `folder` offers; unchanged if there is no int8.json.

    Raises FaceOpsError: int8.json is damaged, or was made for another embedder.
    """
    path = folder / OFFER_FILE
    if not path.is_file():
        return release
    with stage_output(path):
        offer = Offer.model_validate_json(path.read_text("utf-8"))
    if offer.made_from != release.contract_id:
        raise FaceOpsError(
            f"{path} was made for contract {offer.made_from[:12]}, the release has "
            f"{release.contract_id[:12]}; run `dvc repro` first."
        )
    return release.model_copy(update={"int8": offer.int8})


EXPORTED = (*contract.MODEL_FILES, RELEASE_FILE)
EVALUATED = ("evaluation.json", "model_card.md")
INT8 = Path("build/quantise/int8")
# A rebuild changes these itself; the release and its MLflow run record their content.
_RECORDED = (":!dvc.lock", ":!params.yaml", ":!data.dvc")


def git_commit(root: Path) -> str:
    """Return the commit checked out in `root`, with `-dirty` if tracked files differ, else ''."""

    def git(*arguments: str) -> str:
        command, silent = ["git", *arguments], subprocess.DEVNULL
        return subprocess.check_output(command, cwd=root, stderr=silent, text=True)

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *_RECORDED)
        return git("rev-parse", "HEAD").strip() + ("-dirty" if changed.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def assemble(root: Path, target: Path) -> Path:
    """Make the bundle of the last pipeline run of `root` in the folder `target`, atomically.

    The git commit and the hash of dvc.lock are added to release.json and the ONNX files here and
    not in a stage, whose output would otherwise change with each commit; so is the int8 embedder,
    if offered.

    Raises FaceOpsError: the pipeline has not run to its end.
    """
    sources = [root / "build/export" / name for name in EXPORTED]
    sources += [root / "build/evaluate" / name for name in EVALUATED]
    for source in sources:
        if not source.is_file():
            raise FaceOpsError(f"{source} is missing; run `dvc repro` first.")
    release = with_int8(contract.read_release(root / "build/export"), root / INT8)
    if release.int8 is not None:
        sources.append(root / INT8 / release.int8.file)
    lock = root / "dvc.lock"
    release = release.model_copy(
        update={
            "schema_version": contract.SCHEMA_VERSION,
            "git_commit": git_commit(root),
            "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else "",
        }
    )
    with atomic_folder(target) as temporary:
        for source in sources:
            shutil.copy2(source, temporary / source.name)
        contract.write_release(add_metadata(temporary, release), temporary)
    return target
