"""`passport-worker quota show`: plans, their use by companies, and who is near a limit."""

from datetime import date

from worker.store import sql
from worker.tools.common.companies import find_company_id
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.quota.report import CompanyQuota, QuotaShowReport

_RIGHTS = reading("company", "plan", "company_usage", "daily_writes", "overage_charge", "company_day")
_COLUMNS = tuple(CompanyQuota.model_fields)
"""`quotas.sql` selects the fields of the report, in their order."""


async def show_quotas(
    servers: Servers, company: str | None, near: float | None, most: int | None = None, *, only_refused: bool = False
) -> QuotaShowReport:
    """Quotas of one company, given by its id or name, or of all, nearest to a limit first.

    `near` leaves out companies that have used a smaller share of their slots and writes; `most` limits their number.
    `only_refused` leaves out companies without refused commands today, and puts the company with most refusals first.
    """

    async def question(database: Inspection) -> QuotaShowReport | Problem:
        connection = database.connection
        only = await find_company_id(connection, company)
        if isinstance(only, Problem):
            return only
        day: date = await connection.fetchval(sql.load("today", __package__))
        rows = await connection.fetch(sql.load("quotas", __package__), only, near, day, most, only_refused)
        quotas = tuple(CompanyQuota(**dict(zip(_COLUMNS, row.values(), strict=True))) for row in rows)
        return QuotaShowReport(day=day, currency=servers.settings.currency, quotas=quotas)

    answer = await ask_database(servers, _RIGHTS, question, is_long=True)
    if isinstance(answer, Problem):
        return QuotaShowReport(problems=(answer,), day=None, currency=servers.settings.currency, quotas=())
    return answer
