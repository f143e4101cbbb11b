"""`mlflow models serve` of a registered release: requests over HTTP."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faceops.release.served_interface import example_photo
from faceops.serving import LIMITS, PhotoService, RequestParams
from tests.four_releases import register_in
from tests.http_server import free_port, wait_for
from tests.serving.posted import posted

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Server:
    """A scoring server; `folder` is its working directory and TMPDIR."""

    address: str
    folder: Path

    def post(self, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
        """Return the HTTP status and the JSON of the answer."""
        headers = {"Content-Type": content_type}
        request = urllib.request.Request(f"{self.address}/invocations", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ask(self, *images: object, column: str = "image", **params: object) -> tuple[int, Any]:
        """Post a row for each image."""
        split = {"columns": [column], "data": [[image] for image in images]}
        return self.post(json.dumps({"dataframe_split": split, "params": params}).encode())


@pytest.fixture(scope="module")
def server(
    sface_bundle: Path,
    gallery_dir: Path,
    empty_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The champion of a temporary registry, served with a gallery."""
    root = tmp_path_factory.mktemp("served")
    shutil.copy(empty_store, root / "mlflow.db")
    register_in(root, sface_bundle)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        environment.setenv("FACEOPS_GALLERY", str(gallery_dir))
        environment.setenv("TMPDIR", str(root / "temporary"))
        (root / "temporary").mkdir()
        port = free_port()
        model = ["-m", "models:/faceops@champion", "--env-manager", "local", "--port", str(port)]
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment.setenv("PATH", binaries)  # it starts uvicorn by its name
        with (root / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "models", "serve", *model],
                cwd=root / "temporary",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health", process, root / "log")
        yield Server(address, root / "temporary")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def test_the_server_answers_as_the_service_does(server, synthetic_set, gallery_dir, bundle):
    scene = min((synthetic_set / "album").glob("scene_*.jpg"))
    large = "A" * (LIMITS.max_bytes * 4 // 3 + 8)
    images = [posted(scene), posted(example_photo()[:700]), "", large]
    status, body = server.ask(*images, answer="names")
    rows = body["predictions"]
    assert status == 200
    assert rows == PhotoService(bundle, gallery_dir).answer(
        images, RequestParams.of({"answer": "names"})
    )
    assert [row["reason"] for row in rows] == [None, "unreadable", "empty", "too_large"]
    assert any(face["person"] for face in rows[0]["faces"])


def test_every_form_of_request_gives_the_same_embedding(server, bundle):
    photo = posted(example_photo())
    _, asked = server.ask(photo, answer="embeddings")
    (row,) = asked["predictions"]
    assert row["contract_id"] == bundle.release.contract_id
    assert len(row["faces"][0]["embedding"]) == bundle.release.embedding_size
    params = {"params": {"answer": "embeddings"}}
    for form in (
        {"dataframe_records": [{"image": photo}]},
        {"inputs": {"image": [photo]}},
        {"inputs": [photo]},
        {"instances": [{"image": photo}]},
    ):
        assert server.post(json.dumps(form | params).encode()) == (200, asked), form


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"budget": 2}, "the parameter budget is 2; give a share"),
        ({"budget": "much"}, "budget"),
        ({"column": "picture"}, "Model is missing inputs ['image']"),
    ],
)
def test_wrong_requests_get_a_reason(server, wrong, sentence):
    status, body = server.ask(posted(example_photo()), **wrong)
    assert status == 400
    assert sentence in body["message"]
    assert "Traceback" not in str(body)


def test_an_error_does_not_repeat_the_other_photos(server):
    photo = posted(example_photo())
    status, body = server.ask(photo, "no, base64", answer="faces")
    assert status == 400
    assert body["message"].startswith("row 1 of the column image") and body["message"][-1] == "."
    assert photo[:20] not in str(body)


def test_no_request_leaves_a_file_behind(server):
    before = sorted(server.folder.rglob("*"))
    for answer in ("faces", "names", "embeddings"):
        assert server.ask(posted(example_photo()), answer=answer)[0] == 200
    assert sorted(server.folder.rglob("*")) == before
