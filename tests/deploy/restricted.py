"""The *restricted* Pod Security Standard, which the namespaces enforce."""

from tests.deploy.manifests import Manifest, containers

HARMLESS_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
FORBIDDEN_IN_PODS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")


def check_restricted(pod: Manifest) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/: all that it asks for beyond defaults."""
    spec = pod["spec"]
    assert not set(FORBIDDEN_IN_PODS) & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in spec.get("volumes", []):
        assert volume.keys() - {"name"} <= HARMLESS_VOLUMES
    for container in containers(pod):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.keys() <= {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
        assert not any("hostPort" in port for port in container.get("ports", []))
