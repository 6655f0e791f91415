"""Whether what somebody wants to read and write is there, and whether he may."""

from collections.abc import Sequence

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.permissions import Acl, check_permissions
from worker.stream.cluster.topic_settings import missing_topics


async def lacking(settings: Settings, needed: Sequence[Acl]) -> CheckResult | None:
    """What of these rights on topics is missing, or which of the topics; None where nothing is.

    Raises `CLUSTER_ERRORS`.
    """
    cluster = Cluster(settings)
    try:
        if (denied := await check_permissions(cluster, settings, needed)) is not None:
            return denied
        topics = [acl.name for acl in needed]
        found = await cluster.partition_counts(topics)
    finally:
        await cluster.close()
    missing = [topic for topic in topics if topic not in found]
    return missing_topics(missing) if missing else None
