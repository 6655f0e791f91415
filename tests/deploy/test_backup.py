"""Backups: the page quotes the scripts that the tests run, and its manifests fit the component."""

from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import DEPLOY, Manifest, build, of_kind, together
from tests.deploy.pages import PAGES, blocks, page
from tests.deploy.strict import check

SCRIPTS = sorted((DEPLOY / "scripts").glob("*.sh"))
CLUSTER, BACKUP = "kubernetes/components/cloudnative-pg", "kubernetes/components/cloudnative-pg-backup"
PLUGIN = "barman-cloud.cloudnative-pg.io"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_page_quotes_each_script_in_full(script: Path) -> None:
    """So that nobody types another one than the tests have run. The line that names the shell may be missing."""
    text = script.read_text(encoding="utf-8")
    quotations = {text, text.removeprefix("#!/bin/sh\n")}
    assert [name for name in PAGES if quotations & {*blocks(page(name), "sh")}]


def test_the_backup_component_archives_the_cluster_that_it_backs_up() -> None:
    """Log and base backups go into one store, by the plugin, and to no other component's cluster."""
    manifests = together(CLUSTER, BACKUP)
    for manifest in manifests:
        check(manifest)
    (cluster,), (store,) = of_kind(manifests, "Cluster").values(), of_kind(manifests, "ObjectStore").values()
    (schedule,) = of_kind(manifests, "ScheduledBackup").values()
    (plugin,) = cluster["spec"]["plugins"]
    assert (plugin["name"], plugin["isWALArchiver"]) == (PLUGIN, True)
    assert plugin["parameters"]["barmanObjectName"] == store["metadata"]["name"]
    assert schedule["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
    assert (schedule["spec"]["method"], schedule["spec"]["pluginConfiguration"]["name"]) == ("plugin", PLUGIN)
    credentials = store["spec"]["configuration"]["s3Credentials"].values()
    (secret,) = {one["name"] for one in credentials}
    (made,) = (block for block in blocks(page("backup.md"), "sh") if "create secret generic" in block)
    assert f"create secret generic {secret} " in made
    assert all(f"--from-literal={one['key']}=" in made for one in credentials)


def test_the_cluster_of_the_page_is_restored_from_that_store(tmp_path: Path) -> None:
    """And archives into a folder of its own: the plugin refuses one that has another cluster's log."""
    (block,) = blocks(page("backup.md"), "yaml")
    (tmp_path / "restore.yaml").write_text(block, encoding="utf-8")
    (tmp_path / "deploy").symlink_to(DEPLOY)
    components = [f"deploy/{name}" for name in (CLUSTER, BACKUP)]
    kustomization = {"resources": ["deploy/kubernetes/base"], "components": components}
    overlay = {"resources": ["inner"], "patches": [{"path": "restore.yaml"}]}
    (tmp_path / "inner").mkdir()
    kustomization = {key: [f"../{one}" for one in value] for key, value in kustomization.items()}
    (tmp_path / "inner" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    manifests = build(tmp_path)
    cluster: Manifest = of_kind(manifests, "Cluster")["passports-db"]
    check(cluster)
    spec, before = cluster["spec"], of_kind(together(CLUSTER), "Cluster")["passports-db"]["spec"]
    (lost,), (plugin,) = spec["externalClusters"], spec["plugins"]
    recovery, made = spec["bootstrap"]["recovery"], before["bootstrap"]["initdb"]
    assert spec["bootstrap"].keys() == {"recovery"}
    assert recovery["source"] == lost["name"]
    assert (recovery["database"], recovery["owner"]) == (made["database"], made["owner"])
    assert lost["plugin"]["parameters"]["serverName"] == cluster["metadata"]["name"]
    assert lost["plugin"]["parameters"]["barmanObjectName"] == plugin["parameters"]["barmanObjectName"]
    assert plugin["parameters"]["serverName"] != cluster["metadata"]["name"]
    assert plugin["isWALArchiver"]


def test_the_guarantee_of_replicas_is_the_clusters() -> None:
    """What the page says of three instances is what the component sets."""
    (cluster,) = of_kind(together(CLUSTER), "Cluster").values()
    wanted = {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}
    assert cluster["spec"]["instances"] == 3
    assert cluster["spec"]["postgresql"]["synchronous"] == wanted
