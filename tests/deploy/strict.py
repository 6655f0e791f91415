"""Strict validation of Kubernetes objects: unknown fields are errors, for custom resources too."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.infrastructure.tools import NOT_OURS, TOOLS

CRDS = Path(__file__).parents[3] / "shared" / "crds"
VERSIONS = ("1.31", "1.37")
"""The oldest Kubernetes that has all that the manifests use, and the newest that the validator knows."""

OWN_GROUPS = ("", "apps", "batch", "policy", "networking.k8s.io")
"""API groups of Kubernetes itself that the manifests use."""


def check(manifest: Mapping[str, Any]) -> None:
    """Raises where an object is not valid; skips where the schema of a custom resource is not at hand."""
    group = manifest["apiVersion"].rpartition("/")[0]
    if group in OWN_GROUPS:
        _own(json.dumps(manifest))
    else:
        _custom(manifest["kind"], manifest["apiVersion"]).validate(manifest)


@cache
def _own(manifest: str) -> None:
    """Many renderings have the same objects, and the validator reads all schemas for each anew."""
    for version in VERSIONS:
        kubernetes_validate.validate(json.loads(manifest), version, strict=True)


@cache
def _custom(kind: str, api_version: str) -> Draft202012Validator:
    group, _, version = api_version.partition("/")
    name = f"{kind.lower()}.{group}"
    definition = TOOLS / "crds" / f"{name}.yaml"
    if definition.is_file():
        versions = yaml.safe_load(definition.read_text(encoding="utf-8"))["spec"]["versions"]
        (schema,) = (one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == version)
    elif (shared := CRDS / f"{name}.{version}.json").is_file():
        schema = json.loads(shared.read_text(encoding="utf-8"))
    else:
        pytest.skip(f"needs {definition}, which .ci/tools may install, or {shared}, {NOT_OURS}")
    # Kubernetes checks these itself.
    schema["properties"] |= {
        "apiVersion": {"const": api_version},
        "kind": {"const": kind},
        "metadata": {"required": ["name"]},
    }
    return Draft202012Validator(_closed(schema))


def _closed(schema: Any) -> Any:
    """The schema with unknown fields forbidden, wherever it lists fields and does not keep unknown ones.

    Below `oneOf` and its kin stand conditions on fields that are listed elsewhere, so they are left as they are.
    """
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields", False):
            closed.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in closed:
            closed[key] = _closed(closed[key])
    return closed
