"""Fixtures of all tests: real weights, and LFW where it is available."""

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import setuptools  # noqa: F401  before others load Python's distutils: torch's compiler refuses it
from filelock import FileLock

from tests.prefect_server import PrefectServer
from tests.tiny_repository import TinyRepository, make_tiny, rebuild_from_review

if TYPE_CHECKING:
    from faceops.gallery.storage import GalleryPlace
    from faceops.gallery.store import Gallery
    from faceops.registry.store import Version
    from faceops.release.bundle import Bundle
    from tests.object_store import ObjectStoreServer
    from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parent.parent
# Fixtures whose tests keep together, with the name of their group: one test needs both of "flows".
COSTLY = {
    "tiny_repository": "flows",
    "prefect_process": "flows",
    "store_folder": "store_folder",
    "s3_server": "s3_server",
}
POSTGRES = "postgres"  # the parameter of `place` whose tests keep together too, but are fast
# Fixtures that take longer than a fast test may: the tests that use them are `slow`.
SLOW = {*COSTLY, "synthetic_set", "sface_bundle"}


@pytest.hookimpl(tryfirst=True)  # before the workers' own hook, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests with one costly fixture on one worker; mark those with a slow fixture."""
    for item in items:
        used = getattr(item, "fixturenames", ())
        if SLOW.intersection(used):
            item.add_marker("slow")
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        in_database = "postgres_server" in used or any(value is POSTGRES for value in values)
        other = POSTGRES if in_database else str(item.path)
        group = next((COSTLY[name] for name in COSTLY if name in used), other)
        item.add_marker(pytest.mark.xdist_group(group))
    gc.freeze()  # modules and tests stay: no collection of garbage passes over them


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder `name`, which the first of the workers makes and all of them read."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "made_once" / name
    done = folder / "done"
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every weight of weights.toml, verified, under its file name."""
    from faceops.weights import read_catalogue, weight_path

    folder = tmp_path_factory.mktemp("weights")
    for name in read_catalogue():
        path = weight_path(name)
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs: making one takes seconds, a copy none."""

    def make(folder: Path) -> None:
        import mlflow

        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").get_experiment_by_name("none")

    return made_once(tmp_path_factory, "empty_store", make) / "mlflow.db"


@pytest.fixture
def mlflow_store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store of this test's own, `tmp_path`/mlflow.db; MLflow uses it."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@pytest.fixture(scope="session")
def store_folder(
    sface_bundle: Path,
    next_bundle: Path,
    synthetic_set: Path,
    empty_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with mlflow.db, four registered releases and data/, see `make_store`."""
    from tests.four_releases import make_store

    root = tmp_path_factory.mktemp("four")
    shutil.copy(empty_store, root / "mlflow.db")
    aliases = make_store(root, sface_bundle, next_bundle, synthetic_set / "photos")
    (root / "aliases.json").write_text(json.dumps(aliases))
    (root / "data").symlink_to(synthetic_set)
    return root


@pytest.fixture
def registry(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[int, "Version"]:
    """The four versions by number: 1 is champion and 4 challenger; the cache is empty."""
    from faceops.registry.store import point_at_store
    from tests.four_releases import reset_store

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store_folder}/mlflow.db")
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    point_at_store(store_folder)
    return reset_store()


@pytest.fixture(scope="session")
def lfw_root() -> Path:
    """The folder that holds lfw-deepfunneled/ and LFW's protocol files."""
    datasets = Path(os.environ.get("FACEOPS_DATASETS", ROOT.parent / "shared" / "datasets"))
    if not (datasets / "lfw" / "lfw-deepfunneled").is_dir():
        pytest.skip(f"LFW is not in {datasets}; set FACEOPS_DATASETS to measure on it")
    return datasets / "lfw"


@pytest.fixture(scope="session")
def prefect_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server of the session, suspended."""
    with closing(PrefectServer(tmp_path_factory.mktemp("server"))) as server:
        server.wait()
        yield server


@pytest.fixture(scope="session")
def tiny_repository(
    synthetic_set: Path,
    empty_store: Path,
    sface_bundle: Path,
    prefect_process: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> TinyRepository:
    """The pipeline run end to end on 24 synthetic people and a review, by the rebuild flow.

    Version 1, SFace as published, was champion when it began; version 2, its result, is now.
    """
    root = tmp_path_factory.mktemp("tiny") / "repository"
    tiny = make_tiny(ROOT, root, synthetic_set, empty_store)
    with prefect_process.running() as address:
        return rebuild_from_review(tiny, sface_bundle, address)


@pytest.fixture(scope="session")
def synthetic_set(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set: photos/ of 24 people, enrol/ of 6, album/ of 14 scenes."""
    from faceops.dataset.synthetic.make import make_synthetic
    from faceops.dataset.synthetic.people import SyntheticSettings

    def make(folder: Path) -> None:
        settings = SyntheticSettings(
            people=24, photos=4, gallery=6, enrol_photos=3, strangers=6, scenes=14
        )
        make_synthetic(folder / "data", settings, weights_dir / "weights.tar")

    return made_once(tmp_path_factory, "synthetic_set", make) / "data"


@pytest.fixture(scope="session")
def sface_bundle(
    weights_dir: Path, synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a real release: SFace as published, calibrated on the synthetic people."""
    from tests.releases import release_sface

    def make(folder: Path) -> None:
        release_sface(folder / "bundle", synthetic_set / "photos", weights_dir)

    return made_once(tmp_path_factory, "sface_bundle", make) / "bundle"


@pytest.fixture(scope="session")
def next_bundle(sface_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release that differs from `sface_bundle` in its embedder alone."""
    from tests.releases import alter_release

    return alter_release(sface_bundle, tmp_path_factory.mktemp("next_release") / "bundle")


@pytest.fixture(scope="session")
def bundle(sface_bundle: Path) -> "Bundle":
    """That release, loaded."""
    from faceops.release.bundle import Bundle

    return Bundle.load(sface_bundle)


@pytest.fixture(scope="session")
def gallery_dir(
    synthetic_set: Path, bundle: "Bundle", tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a gallery of six synthetic people."""
    from faceops.gallery.enrol import enrol

    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    enrol(synthetic_set / "enrol", folder, bundle)
    return folder


@pytest.fixture(scope="session")
def gallery(gallery_dir: Path) -> "Gallery":
    """That gallery."""
    from faceops.gallery.store import Gallery

    return Gallery.open(gallery_dir)


def copy_album(synthetic_set: Path, folder: Path) -> Path:
    """Make a folder of twelve photos: scenes below scenes/, broken files and a text file."""
    (folder / "scenes").mkdir(parents=True)
    # No links: another worker's would change the ctime of a photo between two runs of a test.
    for path in sorted((synthetic_set / "album").glob("scene_*.jpg"))[:8]:
        shutil.copy2(path, folder / "scenes")
    for name in ("empty.jpg", "text.jpg", "truncated.jpg", "orientation_6.jpg"):
        shutil.copy2(synthetic_set / "album" / "odd" / name, folder)
    return folder


@pytest.fixture
def album(synthetic_set: Path, tmp_path: Path) -> Path:
    """A folder of twelve photos, see `copy_album`."""
    return copy_album(synthetic_set, tmp_path / "album")


@pytest.fixture(scope="session")
def int8_bundle(sface_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `sface_bundle` with a second embedder, in the place of int8."""
    from tests.releases import add_int8

    return add_int8(sface_bundle, tmp_path_factory.mktemp("int8_release") / "bundle")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; closed after the module, since its event loop would stop asyncio.run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ObjectStoreServer"]:
    """An S3 server of the session, see `s3`."""
    from tests.object_store import ObjectStoreServer

    log = tmp_path_factory.mktemp("s3") / "requests"
    log.touch()
    server = ObjectStoreServer(log)
    yield server
    server.close()


@pytest.fixture
def s3(
    s3_server: "ObjectStoreServer", monkeypatch: pytest.MonkeyPatch
) -> "tuple[ObjectStoreServer, Any]":
    """The server, and fsspec's file system on it, for tests with buckets of their own names."""
    from tests.object_store import CREDENTIALS, files

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.address)
    return s3_server, files(s3_server.address)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["PostgresServer"]:
    """A PostgreSQL server of the session."""
    from tests.postgres_server import PostgresServer

    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["folder", POSTGRES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> "GalleryPlace":
    """Where a new gallery can be made: a folder, then a database."""
    if request.param != POSTGRES:
        (tmp_path / "gallery").mkdir()
        return tmp_path / "gallery"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_gallery()
