"""Argo CD and Flux run the migration of each version, and in which order the rest comes."""

from collections import defaultdict

import pytest

from tests.deploy.manifests import DEPLOY, Manifest, of_kind, together
from tests.deploy.pages import page
from tests.deploy.strict import check
from worker import __version__

ARGO, FLUX = "kubernetes/components/argo-cd", "kubernetes/components/flux"
PRODUCTION = ("kubernetes/components/strimzi", "kubernetes/components/cloudnative-pg", "kubernetes/components/keda")
MIGRATE = "passport-worker-migrate"
_ARGO = "argocd.argoproj.io/"


def _annotations(manifest: Manifest) -> dict[str, str]:
    found: dict[str, str] = manifest["metadata"].get("annotations", {})
    return found


@pytest.mark.parametrize("others", [(), PRODUCTION], ids=["base", "production"])
def test_argo_cd_migrates_before_it_replaces_workers(others: tuple[str, ...]) -> None:
    """By waves: all that the migration needs, the migration, the workers, and their autoscaler, as the page says."""
    manifests = together(*others, ARGO)
    waves = defaultdict[str, set[str]](set)
    for manifest in manifests:
        check(manifest)
        waves[_annotations(manifest).get(f"{_ARGO}sync-wave", "0")].add(manifest["kind"])
    assert waves["1"] == {"Job"}
    assert waves["2"] == {"Deployment", "PodDisruptionBudget"}
    assert waves["3"] == ({"ScaledObject"} if others else set())
    assert waves.keys() <= {"0", "1", "2", "3"}
    assert {"ConfigMap", "NetworkPolicy", "ServiceAccount"} <= waves["0"]
    assert not {"Job", "Deployment", "ScaledObject"} & waves["0"]
    for wave, text in (("1", "the migration"), ("2", "the workers"), ("3", "the autoscaler")):
        assert f"| {wave} | {text} |" in page("gitops.md")


def test_argo_cd_makes_the_migration_anew_in_each_sync() -> None:
    """A hook: Argo CD deletes the Job of the last sync first, and does not miss one that has ended and gone."""
    hooks = [one for one in together(*PRODUCTION, ARGO) if f"{_ARGO}hook" in _annotations(one)]
    (job,) = hooks
    assert job["metadata"]["name"] == MIGRATE
    assert _annotations(job)[f"{_ARGO}hook"] == "Sync"
    assert _annotations(job)[f"{_ARGO}hook-delete-policy"] == "BeforeHookCreation"
    assert job["spec"]["ttlSecondsAfterFinished"] >= 3600


@pytest.mark.parametrize("others", [(), PRODUCTION], ids=["base", "production"])
def test_flux_has_a_migration_for_each_version(others: tuple[str, ...]) -> None:
    """By its name; other changes have it made anew. A Job that goes in time would come again, again and again."""
    (job,) = of_kind(together(*others, FLUX), "Job").values()
    check(job)
    assert job["metadata"]["name"] == f"{MIGRATE}-{__version__.replace('.', '-')}"
    assert _annotations(job) == {"kustomize.toolkit.fluxcd.io/force": "Enabled"}
    assert "ttlSecondsAfterFinished" not in job["spec"]
    (plain,) = of_kind(together(*others), "Job").values()
    assert job["spec"] == plain["spec"]


def test_these_are_the_components_of_production() -> None:
    """The tests above render them as its overlay does."""
    text = (DEPLOY / "kubernetes/overlays/production/kustomization.yaml").read_text(encoding="utf-8")
    assert all(f"../../{name.removeprefix('kubernetes/')}\n" in text for name in PRODUCTION)
