"""What a person sees who chooses a release in the MLflow UI, in headless Chromium."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.tiny_repository import TinyRepository

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def mlflow_ui(tiny_repository: TinyRepository) -> Iterator[str]:
    """The address of the MLflow UI on the tiny repository's store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{tiny_repository.root}/mlflow.db"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "ui",
            "--backend-store-uri",
            store,
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        cwd=tiny_repository.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        else:
            pytest.fail("the MLflow UI did not start in 120 s")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def test_the_champions_page_tells_what_it_is_worth_and_where_it_comes_from(
    mlflow_ui: str, tiny_repository: TinyRepository
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(f"{mlflow_ui}/#/models/faceops/versions/1")
        for loaded in ("git_commit", "champion"):  # tags and aliases come by different requests
            page.get_by_text(loaded).first.wait_for(timeout=60_000)
        text = page.inner_text("body")
        picture = os.environ.get("FACEOPS_SCREENSHOTS")
        if picture:
            page.screenshot(path=f"{picture}/mlflow_version.png", full_page=True)
        browser.close()
    assert "champion" in text
    assert "verification accuracy" in text
    assert "contract_id" in text
