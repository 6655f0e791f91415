"""`passport-worker topics create`."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster, explain
from worker.tools.cli.channels import AllChannels, settings_of_all
from worker.tools.cli.errors import Failed
from worker.tools.cli.running import run_async
from worker.tools.common.topics import compare_topics, create_topics

app = App(name="topics", help="Kafka topics.")


@app.command(name="create")
def topics_create(
    *,
    check: Annotated[bool, Parameter(help="Create nothing; exit 1 if any is missing or differs.")] = False,
    channel: AllChannels = None,
) -> None:
    """Create missing topics. Existing topics stay as they are; the output says what to do if they differ.

    New topics have PASSPORT_TOPIC_PARTITIONS partitions. To give a channel another number, create it alone.
    """
    settings = settings_of_all(channel)
    configure_logs()

    async def create() -> bool:
        cluster = Cluster(settings)
        try:
            names, drift = await (compare_topics if check else create_topics)(cluster, settings)
        except CLUSTER_ERRORS as error:
            raise Failed(explain(error, settings)) from error
        finally:
            await cluster.close()
        for name in names:
            print(f"{'missing' if check else 'created'} {name}")
        for difference in drift:
            print(f"differs {difference}")
        if not names and not drift:
            print("all topics exist, as expected")
        return not (names or drift)

    if not run_async(create) and check:
        sys.exit(1)
