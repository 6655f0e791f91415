"""`passport-worker quota show`: plans, their use by companies, and who is near a limit."""

from datetime import date

from worker.store import sql
from worker.tools.common.api_keys import company_unknown, has_company
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.quota.report import CompanyQuota, QuotaShowReport

_RIGHTS = reading("company", "plan", "company_usage", "daily_writes", "overage_charge")
_COLUMNS = tuple(CompanyQuota.model_fields)
"""`quotas.sql` selects the fields of the report, in their order."""


async def show_quotas(
    servers: Servers, company: str | None, near: float | None, most: int | None = None
) -> QuotaShowReport:
    """Quotas of one company or of all, nearest to a limit first.

    `near` leaves out companies that have used a smaller share of their slots and writes; `most` is how many to show.
    """

    async def question(database: Inspection) -> QuotaShowReport | Problem:
        connection = database.connection
        if company is not None and not await has_company(connection, company):
            return company_unknown(company)
        day: date = await connection.fetchval(sql.load("today", __package__))
        rows = await connection.fetch(sql.load("quotas", __package__), company, near, day, most)
        quotas = tuple(CompanyQuota(**dict(zip(_COLUMNS, row.values(), strict=True))) for row in rows)
        return QuotaShowReport(day=day, quotas=quotas)

    answer = await ask_database(servers, _RIGHTS, question, is_long=True)
    return QuotaShowReport(problems=(answer,), day=None, quotas=()) if isinstance(answer, Problem) else answer
