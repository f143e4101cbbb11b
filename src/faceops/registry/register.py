"""A release bundle becomes a version of the registered model."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow

from faceops.base.files import sha256_file
from faceops.registry.champion import FIRST, Event, champions, note_champion
from faceops.registry.store import (
    BUNDLE_FOLDER,
    CHALLENGER,
    CHAMPION,
    CONTRACT_TAG,
    MODEL,
    RELEASE_TAG,
    store_errors,
)
from faceops.registry.versions import Version, find_version, versions
from faceops.release.bundle import Bundle
from faceops.release.contract import RELEASE_FILE
from faceops.release.served_interface import input_example, signature

_DECIDED = {"gate", "champion_since"}  # tags of a version that was measured or was champion
ABOUT = (
    "Names the people in photos: detector, embedder, verifier, thresholds. A request holds photos "
    "(`image`, base64) and may ask for an `answer` (`faces`, `names` or `embeddings`), a `budget` "
    "(share of strangers that may be given a name; 0 is the release's own) and `detail` (pixels)."
)


def register(
    bundle_folder: Path, run_id: str, description: str, lineage: Mapping[str, str] | None = None
) -> Version:
    """Log the bundle to the run, register it, and give it its alias, see `give_alias`.

    Args:
        bundle_folder: a complete bundle; logged as it is, under `bundle/` of the model.
        run_id: the MLflow run that holds its params, metrics and plots.
        description: Markdown for the version's page.
        lineage: further tags of the version; those of the bundle's release.json are known.

    Raises:
        FaceOpsError: the bundle is damaged.
        StoreError: the store refused it or does not answer.
    """
    release = Bundle.load(bundle_folder).release
    tags = {
        **(lineage or {}),
        CONTRACT_TAG: release.contract_id,
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        RELEASE_TAG: sha256_file(bundle_folder / RELEASE_FILE),
    }
    with store_errors("registering the release"), tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / BUNDLE_FOLDER
        shutil.copytree(bundle_folder, staged)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=MODEL,
                loader_module="faceops.serving.pyfunc",
                data_path=str(staged),
                signature=signature(),
                input_example=input_example(),
                pip_requirements=[],  # no index has this package: serve with --env-manager local
                metadata=tags,
            )
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL, description=ABOUT)
        version = client.create_model_version(
            MODEL,
            logged.model_uri,
            run_id=run_id,
            tags=tags,
            description=description,
            model_id=logged.model_id,  # a server refuses the address without it
            await_creation_for=0,  # both kinds of store have it at once
        )
    return give_alias(int(version.version))


def give_alias(number: int) -> Version:
    """Give a version the alias that a registration ends with, and return it.

    The oldest version becomes `champion` if there never was one, else the newest `challenger`.
    A version that has an alias, was measured by the gate or was champion stays as it is. To call
    it again completes an interrupted registration.

    Raises:
        StoreError: the store refused it or does not answer.
    """
    known = versions()
    version = next(one for one in known if one.version == number)
    has_champion = any(CHAMPION in one.aliases for one in known)
    first = not has_champion and number == known[-1].version and not champions()
    with store_errors(f"giving version {number} its alias"):
        client = mlflow.MlflowClient()
        tags = client.get_model_version(MODEL, str(number)).tags
        if first:
            client.set_registered_model_alias(MODEL, CHAMPION, str(number))
        elif number == known[0].version and not (version.aliases or tags.keys() & _DECIDED):
            client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
    if first:
        note_champion(Event.now(number, FIRST, because="there was no other"))
    return find_version(str(number))
