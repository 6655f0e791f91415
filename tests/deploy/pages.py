"""Commands on the pages of `deploy/`, and checks that all pages have in common."""

import re
import subprocess
from textwrap import dedent

from tests.deploy.manifests import DEPLOY, of_kind, rendered

PRODUCTION = "kubernetes/overlays/production"
KINDS = {
    "deployment": "Deployment",
    "job": "Job",
    "cronjob": "CronJob",
    "scaledobject": "ScaledObject",
    "cluster.postgresql.cnpg.io": "Cluster",
}
"""Kinds of our objects, as commands write them in front of a name."""


PAGES = sorted(str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*.md") if path.name != "metrics.md")
RUNBOOK = [name for name in PAGES if name.startswith("runbook/")]


def page(name: str) -> str:
    """The text of a page."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, also those in a list."""
    fenced = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, flags=re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, block in fenced]


def named(text: str, word: str) -> set[str]:
    """The objects that a text names as `word/name`."""
    return set(re.findall(rf"(?<![\w.]){re.escape(word)}/([\w-]+)", text))


def missing_objects(text: str) -> set[str]:
    """Objects of ours that a text names and that production does not have."""
    return {
        f"{word}/{name}"
        for word, kind in KINDS.items()
        for name in named(text, word) - of_kind(rendered(PRODUCTION), kind).keys()
    }


def check_shell(text: str) -> None:
    """Raises where a block of shell is none, such as for a quote too few."""
    for block in blocks(text, "sh"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, timeout=10)


def anchors(text: str) -> set[str]:
    """What links can point to: headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
