"""Names that others build on stay until the next major version: options, fields, settings, metrics, alerts."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from tests.released import FOLDER
from tests.released.promises import FILE, Promises, broken, promises_of_today, text_of

TODAY = promises_of_today()
RELEASED = sorted(path.parent for path in FOLDER.glob("*/schema.json"))


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_what_a_release_promised_is_kept(folder: Path) -> None:
    """A name that goes, or that means another type, is a new major version."""
    assert list(broken(json.loads((folder / FILE).read_text(encoding="utf-8")), TODAY)) == []


def test_promises_are_found_and_read_as_they_were_written() -> None:
    """Of each kind."""
    assert json.loads(text_of(TODAY)) == TODAY
    assert TODAY["fields"]["audit.lanes[].expired"] == {"types": ["integer"], "values": [], "always": True}
    assert "null" in TODAY["fields"]["migrate-plan.databaseSchema"]["types"]
    assert {"lanes --watch", "lanes reset --execute", "submit FILE", "tail -n"} <= TODAY["options"].keys()
    assert "PASSPORT_GROUP_ID" in TODAY["settings"]
    assert TODAY["metrics"]["passport_server_up"]["labels"] == ["server"]
    assert list(broken(TODAY, TODAY)) == []


def test_more_breaks_nothing() -> None:
    """Options, fields, settings, metrics, and values of a field."""
    more = _with("fields", "audit.lanes[].note", {"types": ["string"], "values": [], "always": False})
    more["options"]["tail --more"] = more["settings"]["PASSPORT_MORE"] = more["metrics"]["passport_more"] = {
        "labels": []
    }
    more["fields"]["doctor.checks[].status"]["values"].append("unknown")
    assert list(broken(TODAY, more)) == []


@pytest.mark.parametrize(
    ("kind", "name", "now", "problem"),
    [
        ("fields", "audit.lanes[].expired", None, "it is gone"),
        ("fields", "audit.lanes[].expired", {"types": ["string"]}, "it may be string now"),
        ("fields", "audit.lanes[].expired", {"types": ["integer", "null"]}, "it may be null now"),
        ("fields", "audit.lanes[].expired", {"always": False}, "it may be missing now"),
        ("fields", "doctor.checks[].status", {"values": ["ok"]}, "it is never failed or skipped or warning any more"),
        ("options", "dead-letters redrive --again", None, "it is gone"),
        ("settings", "PASSPORT_GROUP_ID", None, "it is gone"),
        ("alerts", "PassportBackupTooOld", None, "it is gone"),
        ("metrics", "passport_server_up", None, "it is gone"),
        ("metrics", "passport_server_up", {"labels": ["name"]}, "its labels are ['name'], and were ['server']"),
    ],
)
def test_a_broken_promise_is_named(kind: str, name: str, now: dict[str, object] | None, problem: str) -> None:
    """With its kind, and what changed."""
    changed = _with(kind, name, None if now is None else {**TODAY[kind][name], **now})
    assert list(broken(TODAY, changed)) == [f"{kind} {name}: {problem}"]


def _with(kind: str, name: str, value: dict[str, object] | None) -> Promises:
    changed = deepcopy(TODAY)
    changed[kind].pop(name, None)
    return changed if value is None else {**changed, kind: {**changed[kind], name: value}}
