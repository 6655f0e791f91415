"""`passport-worker quota show`: what companies have used of their plans, and who is near an end."""

from datetime import date

from worker.tools.common.api_keys import has_company
from worker.tools.common.checked import ask_database, company_unknown
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.quota.report import CompanyQuota, QuotaShowReport
from worker.tools.quota.rows import Quota, quotas, today

_RIGHTS = reading("company", "plan", "company_usage", "daily_writes", "overage_charge")


async def show_quotas(
    servers: Servers, company: str | None, near: float | None, most: int | None = None
) -> QuotaShowReport:
    """Of one company or of all; `near` leaves out those that have used a smaller share of their slots and writes.

    `most` is how many are told at most, those that are nearest to an end.
    """

    async def question(database: Inspection) -> tuple[date, list[Quota]] | Problem:
        if company is not None and not await has_company(database.connection, company):
            return company_unknown(company)
        day = await today(database.connection)
        return day, await quotas(database.connection, company, near, day, most)

    found = await ask_database(servers, _RIGHTS, question, is_long=True)
    if isinstance(found, Problem):
        return QuotaShowReport(problems=(found,), day=None, quotas=())
    day, rows = found
    return QuotaShowReport(day=day, quotas=tuple(_report(one) for one in rows))


def _report(quota: Quota) -> CompanyQuota:
    return CompanyQuota(
        company=quota.company_id,
        name=quota.name,
        plan=quota.plan,
        slots_used=quota.slots_used,
        slots_limit=quota.slots_limit,
        slots_share=quota.slots_share,
        writes_today=quota.writes,
        writes_limit=quota.writes_limit,
        writes_share=quota.writes_share,
        charges=quota.charges,
        charged_cents=quota.charged_cents,
    )
