"""What the registry knows of a version, and how two of them differ."""

from dataclasses import dataclass
from typing import Any

from faceops.release.registry.store import MODEL, store_errors
from faceops.release.registry.versions import Version


@dataclass(frozen=True)
class ToldVersion:
    """A version with its tags and description, and what its run says."""

    version: Version
    tags: dict[str, str]
    description: str
    params: dict[str, str]
    metrics: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            **self.version.as_dict(),
            "tags": self.tags,
            "description": self.description,
            "params": self.params,
            "metrics": self.metrics,
        }


def tell(version: Version) -> ToldVersion:
    """Ask the store about `version`; a run that was deleted since leaves its part empty.

    Raises:
        StoreError: it does not answer.
    """
    import mlflow

    with store_errors(f"reading version {version.version}"):
        client = mlflow.MlflowClient()
        entry = client.get_model_version(MODEL, str(version.version))
        params: dict[str, str] = {}
        metrics: dict[str, float] = {}
        if version.run_id:
            try:
                data = client.get_run(version.run_id).data
                params, metrics = dict(data.params), dict(data.metrics)
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    return ToldVersion(version, dict(entry.tags), entry.description or "", params, metrics)


def differing(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the keys whose values differ, sorted, with both values; "" where one has none."""
    keys = sorted(a.keys() | b.keys())
    return {key: (a.get(key, ""), b.get(key, "")) for key in keys if a.get(key) != b.get(key)}


def evaluated(metrics: dict[str, float]) -> dict[str, float]:
    """Return the figures on test people, without the ends of their intervals."""
    return {
        key.removeprefix("evaluate."): value
        for key, value in sorted(metrics.items())
        if key.startswith("evaluate.") and "interval" not in key
    }
