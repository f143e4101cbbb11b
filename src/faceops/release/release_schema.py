"""The JSON schema of release.json, for programs that read it without this package.

python -m faceops.release.release_schema     # writes release.schema.json anew, beside this file
"""

import json
from pathlib import Path
from typing import Any

from faceops.release.contract import SCHEMA_VERSION, Release

SCHEMA_FILE = Path(__file__).with_name("release.schema.json")


def release_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of what `write_release` writes."""
    schema = Release.model_json_schema(mode="serialization")
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"release.json of a FaceOps release, version {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """Return the content of release.schema.json."""
    return json.dumps(release_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")
