"""deploy/kubernetes: schemas, and what its pods may do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ONLY_WITH_COMPOSE = ("--serve", "--cron")  # a CronJob has the schedule
FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
DOCUMENTS = [
    pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text("utf-8"))
]


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the specs of pods in a document."""
    if "containers" in document:
        yield document
    for value in document.values():
        if isinstance(value, dict):
            yield from pods(value)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_schema_of_kubernetes_accepts(document):
    validation = pytest.importorskip("kubernetes_validate")
    validation.validate(document, "1.34", strict=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pods_run_without_rights(document):
    for pod in pods(document):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert "env" not in container  # all by reference


def test_the_containers_run_what_compose_runs(repository):
    """As the same user, with the same places to write in."""
    text = (repository / "docker-compose.scale.yml").read_text("utf-8")
    services = yaml.safe_load(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text))["services"]
    uid = re.search(r"useradd .*--uid (\d+)", (repository / "Dockerfile").read_text("utf-8"))
    for pod in (pod for document in DOCUMENTS for pod in pods(document.values[0])):
        for container in pod["containers"]:
            service = services[container["name"]]
            words = [word for word in service["command"] if not word.startswith(ONLY_WITH_COMPOSE)]
            assert container["image"] == service["image"]
            assert (container["command"], container["args"]) == (service["entrypoint"], words)
            places = [place.partition(":")[0] for place in service["tmpfs"]]
            places += [volume.partition(":")[2] for volume in service.get("volumes", [])]
            assert sorted(each["mountPath"] for each in container["volumeMounts"]) == sorted(places)
            assert uid and pod["securityContext"]["runAsUser"] == int(uid[1])
