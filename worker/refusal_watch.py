"""Watches the refusals of the last hour for a company that floods, and for companies that are refused entirely."""

from math import nan

import structlog

from worker.observability.metrics import Metrics
from worker.store.activity import refused_companies
from worker.store.postgres import PostgresStore

log = structlog.get_logger(__name__)

# Fewer refusals of a company in an hour mean nothing, since people try once or twice; nor does a share of few commands.
LEAST_REFUSALS = 3
LEAST_COMMANDS = 20
FLOOD = 0.5
# The most companies that a log line names.
_MOST_NAMED = 20


class RefusalWatch:
    """Sets two metrics that name no company, and logs the companies when they change.

    Every worker looks at the counts of all workers of its group, so that all of them show the same.
    """

    def __init__(self, store: PostgresStore, group_id: str, metrics: Metrics) -> None:
        self._store, self._group_id, self._metrics = store, group_id, metrics
        self._logged: tuple[str | None, list[str]] = None, []

    async def look(self) -> None:
        """Look at the last hour. Raises the errors of Postgres, and then sets the metrics to unknown."""
        try:
            async with self._store.session() as connection:
                companies = await refused_companies(connection, self._group_id)
        except BaseException:
            self._metrics.largest_refused_share.set(nan)
            self._metrics.companies_refused_entirely.set(nan)
            raise
        largest = companies[0] if companies and companies[0].answered >= LEAST_COMMANDS else None
        share = largest.refused / largest.answered if largest else 0.0
        entirely = [
            company.company_id for company in companies if company.is_entirely and company.refused >= LEAST_REFUSALS
        ]
        self._metrics.largest_refused_share.set(share)
        self._metrics.companies_refused_entirely.set(len(entirely))
        floods = largest.company_id if largest and share > FLOOD else None
        if (floods, sorted(entirely)) != self._logged:
            self._logged = floods, sorted(entirely)
            (log.warning if floods or entirely else log.info)(
                "companies_refused",
                over_half_of_the_hour=floods,
                entirely=entirely[:_MOST_NAMED],
                entirely_count=len(entirely),
            )
