"""`make sbom`: the software bill of materials, CycloneDX 1.6, of the locked packages and weights.

python -m sbom            # in the root of the repository; writes build/sbom.cdx.json

Equal inputs give equal bytes: it has neither a time nor a random number.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json
from faceops.stages import run_script
from faceops.weights import Weight, read_catalogue

OUT = Path("build/sbom.cdx.json")


def bill_of_materials(root: Path, weights: dict[str, Weight]) -> dict[str, Any]:
    """Return the CycloneDX document of `root`/requirements.lock and of `weights`.

    Raises:
        FaceOpsError: the lock cannot be read, or the document would not be valid.
    """
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    command += ["requirements.lock", "--pyproject", "pyproject.toml", "--output-reproducible"]
    command += ["--no-validate"]  # what is made of it is validated below
    done = subprocess.run(
        [*command, "--sv", "1.6"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FaceOpsError(f"{root / 'requirements.lock'} cannot be read: {done.stderr.strip()}.")
    document: dict[str, Any] = json.loads(done.stdout)
    for package in document["components"]:
        # The tool states the index that it supposes; the purl names the package wherever it is.
        del package["externalReferences"]
    document["components"] += map(weight_component, weights.values())
    refs = [component["bom-ref"] for component in document["components"]]
    document["metadata"]["component"]["version"] = faceops.__version__
    product = document["metadata"]["component"]["bom-ref"]
    document["dependencies"] = [{"ref": product, "dependsOn": refs}, *({"ref": r} for r in refs)]
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if error is not None:
        raise FaceOpsError(f"the bill of materials is not valid CycloneDX: {error}.")
    return document


def weight_component(weight: Weight) -> dict[str, Any]:
    """Return the weight as a component: its sha256, licence and sources."""
    properties = {"file": weight.file, "size": str(weight.size), "terms": weight.terms}
    if weight.wheel or weight.npm:
        pypi, npm = (weight.wheel or "").replace("==", "@"), re.sub("^@", "%40", weight.npm or "")
        properties["package"] = f"pkg:npm/{npm}" if npm else f"pkg:pypi/{pypi}"
        properties["member"] = str(weight.member)
    urls = [{"type": "distribution", "url": weight.url}] if weight.url else []
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weight-{weight.name}",
        "name": weight.name,
        "description": weight.what,
        "hashes": [{"alg": "SHA-256", "content": weight.sha256}],
        "licenses": [{"expression": weight.licence}],
        "externalReferences": urls,
        "properties": [{"name": f"faceops:{key}", "value": v} for key, v in properties.items()],
    }


def main() -> None:
    """Write it."""
    document = bill_of_materials(Path.cwd(), read_catalogue())
    write_json(OUT, document)
    print(f"{OUT}: {len(document['components'])} components")


if __name__ == "__main__":
    run_script(main, "interrupted")
