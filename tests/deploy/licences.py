"""The licences that packages in the image may have: those that allow use and distribution beside other programs."""

import re
from typing import Any

ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MIT",
    "MIT-0",
    "MPL-2.0",  # the packages' own files stay under it; we change none
    "PSF-2.0",
    "Python-2.0",
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
}
READ = {"protobuf": "BSD-3-Clause"}
"""What the licence file of a package says whose metadata name none."""


def not_allowed(component: dict[str, Any]) -> list[str]:
    """The licences of a CycloneDX component that are on no list; "none" where it has none."""
    names: list[str] = []
    for choice in component.get("licenses", []):
        licence = choice.get("license", {})
        names += [licence.get("id") or licence["name"]] if licence else re.findall(r"[^() ]+", choice["expression"])
    found = names or [READ.get(component["name"], "none")]
    return [name for name in found if name not in ALLOWED | {"AND", "OR"}]
