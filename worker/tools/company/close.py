"""`passport-worker company close`: refuses all further commands of a company. Its passports stay."""

from worker.store import sql
from worker.store.grants import Right
from worker.tools.common.changing import Change
from worker.tools.common.companies import find_company
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.company.report import CompanyCloseReport

READS = (
    *reading("company", "company_usage", "signing_key"),
    Right("SELECT", "company_id, label, revoked_at", "TABLE", "api_key"),
)
_WRITES = (
    Right("UPDATE", "closed_at", "TABLE", "company"),
    Right("UPDATE", "revoked_at", "TABLE", "api_key"),
    Right("UPDATE", "revoked_at", "TABLE", "signing_key"),
)


async def close(servers: Servers, company: str, author: Author | None) -> CompanyCloseReport:
    """Refuse all commands of a company from now on, and revoke its keys. Without an author, only plan it."""
    change = Change("company close", author, READS, _WRITES, "company close")

    async def question(database: Inspection) -> CompanyCloseReport | Problem:
        owner = await find_company(database.connection, company)
        if isinstance(owner, Problem):
            return owner
        row = await database.connection.fetchrow(sql.load("planned_closing", __package__), owner.id)
        assert row is not None, "no company is ever deleted"
        planned = CompanyCloseReport(company=owner.id, name=owner.name, **row)
        if author is None:
            return planned
        async with change.begun(database, {"company": owner.id}) as begun:
            row = await database.connection.fetchrow(sql.load("close_company", __package__), owner.id)
            assert row is not None, "no company is ever deleted"
            begun.progress |= {"apiKeys": row["api_keys"], "signingKeys": row["signing_keys"]}
        return planned.model_copy(update=dict(row) | change.as_done(begun))

    answer = await change.ask(servers, question)
    return CompanyCloseReport(problems=(answer,)) if isinstance(answer, Problem) else answer
