"""The console's pages, and the same reports as JSON under `/api/`."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from worker.domain.command import is_object_id
from worker.messages.reasons import DEAD_LETTER_REASONS
from worker.messages.rules import ALL_RULES
from worker.tools.common.address import address_of
from worker.tools.common.companies import COMPANY_UNKNOWN
from worker.tools.common.progress import Progress
from worker.tools.common.report import Report, SomeReport
from worker.tools.common.selection import BadSelection, Range, place_of
from worker.tools.common.servers import Servers
from worker.tools.console import rendering
from worker.tools.console.activity import by_reason
from worker.tools.console.cached import MOST_ROWS, NEWEST_LETTERS, CachedReports, LastReport
from worker.tools.console.chart import chart
from worker.tools.console.guard import READER
from worker.tools.console.report import ActivityReport, RefusedCompany
from worker.tools.console.verdict import verdicts
from worker.tools.dead_letters.letters import list_all
from worker.tools.dead_letters.letters import show as look_at
from worker.tools.explain.explain import explain
from worker.tools.explain.report import ExplainReport
from worker.tools.quota.quota import show_quotas
from worker.tools.refusals.newest import Bound
from worker.tools.refusals.refusals import MOST, OUTCOMES, Wanted, refusals
from worker.tools.refusals.report import RefusalsReport

_MOST_SHOWN = 12
"""Rows of a panel."""
_NEWEST_REFUSALS = 50
_BOUND = Bound(5_000, 20_000_000, 2.0)
"""The most refusals that a page reads; the verb reads more."""
_AGES = {
    "15m": ("15 minutes ago", timedelta(minutes=15)),
    "1h": ("an hour ago", timedelta(hours=1)),
    "24h": ("a day ago", timedelta(days=1)),
    "7d": ("a week ago", timedelta(days=7)),
}
"""Choices of `since`, with their names."""
_LONGEST_NAME = 200


class Pages:
    """Answers requests. Only one command is explained at a time: it keeps a Postgres session while it reads Kafka.

    Only one list of refusals is read at a time, since it takes memory and the processor.
    """

    def __init__(self, servers: Servers, cached: CachedReports) -> None:
        self._servers, self._cached = servers, cached
        self._templates = rendering.environment()
        self._explaining, self._listing = asyncio.Lock(), asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Routes of pages and of JSON."""
        return [
            web.get("/", self.overview),
            web.get("/explain", self.explained),
            web.get("/refusals", self.refused),
            web.get("/dead-letters", self.letters),
            web.get("/dead-letters/{place:.+}", self.letter),
            web.get("/company/{id:[0-9A-Fa-f]{24}}", self.company),
            web.get("/api/lanes", _json(lambda _: _newest(self._cached.lanes.get()))),
            web.get("/api/activity", self.activity),
            web.get("/api/quota", _json(lambda _: _newest(self._cached.quotas.get()))),
            web.get("/api/quota/{id:[0-9A-Fa-f]{24}}", _json(self._quota)),
            web.get("/api/refusals", _json(self._refusals)),
            web.get("/api/dead-letters", _json(self._listed)),
            web.get("/api/dead-letters/{place:.+}", _json(self._letter)),
            web.get("/api/explain", _json(self._explain)),
        ]

    def error(self, request: web.Request, status: int, text: str) -> web.Response:
        """An error page, or JSON under `/api/`."""
        if request.path.startswith("/api/"):
            return web.json_response({"error": text}, status=status)
        return self._page(request, "error.html", status=status, text=text)

    async def overview(self, request: web.Request) -> web.Response:
        """`/`: lanes, the last hour, refusals, quotas near their end, and dead letters."""
        cached = self._cached
        lanes, activity, letters, quotas, refused_today = await asyncio.gather(
            *(cached.lanes.get(), cached.activity.get(), cached.letters.get()),
            *(cached.quotas.get(), cached.refused.get()),
        )
        left = [letter for letter in letters.report.dead_letters if letter.redriven is None] if letters.report else []
        newest = {letter.code: letter for letter in reversed(left)}
        return self._page(
            request,
            "overview.html",
            verdicts=verdicts(lanes, rendering.ago(lanes.at)),
            lanes=lanes,
            activity=activity,
            refusals=_refusals_seen(activity.report, request),
            letters=letters,
            quotas=quotas,
            refused_today=refused_today,
            chart=chart(activity.report.minutes) if activity.report else None,
            dead=[(code, count, newest[code]) for code, count in Counter(letter.code for letter in left).most_common()],
            most=_MOST_SHOWN,
            newest_letters=NEWEST_LETTERS,
            still="still" in request.query,
        )

    async def explained(self, request: web.Request) -> web.Response:
        """`/explain?q=`: a command from record to event."""
        asked = request.query.get("q", "").strip()
        if not asked:
            return self._page(request, "search.html", problem=None)
        try:
            report = await self._explain(request)
        except BadSelection as error:
            return self._page(request, "search.html", asked=asked, status=400, problem=str(error))
        return self._page(
            request,
            "explain.html",
            asked=asked,
            report=report,
            rules=ALL_RULES,
            codes=OUTCOMES,
            may_be_company=is_object_id(asked),
        )

    async def refused(self, request: web.Request) -> web.Response:
        """`/refusals`: the newest refusals, of all companies and codes or of some."""
        return self._page(
            request,
            "refusals.html",
            report=await self._refusals(request),
            codes=OUTCOMES,
            ages=_AGES,
            asked_company=request.query.get("company", ""),
            asked_since=request.query.get("since", ""),
        )

    async def letters(self, request: web.Request) -> web.Response:
        """`/dead-letters`: the newest dead letters, of all codes or of one."""
        code = request.query.get("code") or None
        if code is not None and code not in DEAD_LETTER_REASONS:
            raise BadSelection(f"code: expected one of {', '.join(DEAD_LETTER_REASONS)}")
        known = await self._cached.letters.get()
        letters = known.report.dead_letters if known.report else ()
        return self._page(
            request,
            "dead_letters.html",
            known=known,
            code=code,
            codes=sorted({letter.code for letter in letters}),
            letters=[letter for letter in letters if code in (None, letter.code)],
            newest_letters=NEWEST_LETTERS,
        )

    async def letter(self, request: web.Request) -> web.Response:
        """`/dead-letters/PLACE`: one dead letter in full."""
        report = await self._letter(request)
        status = 404 if report.dead_letter is None and report.problems[0].code == "no-dead-letter" else 200
        return self._page(request, "dead_letter.html", status=status, report=report, place=request.match_info["place"])

    async def company(self, request: web.Request) -> web.Response:
        """`/company/ID`: a company's use of its plan, and its refusals."""
        company = request.match_info["id"].lower()
        quota, activity = await asyncio.gather(self._quota(request), self._cached.activity.get())
        rows = activity.report.refusals if activity.report else ()
        refused = [row for row in rows if row.company == company]
        status = 404 if any(problem.code == COMPANY_UNKNOWN for problem in quota.problems) else 200
        return self._page(
            request, "company.html", status=status, id=company, report=quota, refusals=refused, activity=activity
        )

    async def activity(self, request: web.Request) -> web.Response:
        """`/api/activity`: the last hour."""
        report = await _newest(self._cached.activity.get())
        return _as_json(report.model_copy(update={"refusals": _refusals_seen(report, request)}))

    async def _explain(self, request: web.Request) -> ExplainReport:
        address = address_of(request.query.get("q", ""), self._servers.settings.topic_commands)
        async with self._explaining:
            return await explain(self._servers, address, Progress())

    async def _refusals(self, request: web.Request) -> RefusalsReport:
        query = {name: text.strip() for name, text in request.query.items() if text.strip()}
        outcomes = tuple(query["outcome"].split(",")) if "outcome" in query else ()
        company, since, limit = query.get("company"), query.get("since"), query.get("limit", str(_NEWEST_REFUSALS))
        if set(outcomes).difference(OUTCOMES):
            raise BadSelection(f"outcome: expected one of {', '.join(OUTCOMES)}")
        if since is not None and since not in _AGES:
            raise BadSelection(f"since: expected one of {', '.join(_AGES)}")
        if company is not None and len(company) > _LONGEST_NAME:
            raise BadSelection(f"company: expected at most {_LONGEST_NAME} characters")
        begin = None if since is None else datetime.now(UTC) - _AGES[since][1]
        wanted = Wanted(company, outcomes, begin, _number("limit", limit, MOST))
        async with self._listing:
            return await refusals(self._servers, wanted, _BOUND)

    async def _letter(self, request: web.Request) -> Any:
        place = place_of(request.match_info["place"], self._servers.settings.topic_commands)
        report, _ = await look_at(self._servers, place)
        return report

    async def _listed(self, request: web.Request) -> Report:
        limit = _number("limit", request.query.get("limit", str(NEWEST_LETTERS)), MOST_ROWS)
        return await list_all(self._servers, Range(), None, limit)

    async def _quota(self, request: web.Request) -> Report:
        return await show_quotas(self._servers, request.match_info["id"].lower(), None)

    def _page(
        self, request: web.Request, name: str, *, status: int = 200, asked: str = "", **values: object
    ) -> web.Response:
        settings = self._servers.settings
        common = {
            "asked": asked,
            "group": settings.group_id,
            "currency": settings.currency,
            "commands": f"{settings.topic_commands}/",
            "status": status,
            "now": time.time(),
            "reader": request.get(READER),
        }
        text = self._templates.get_template(name).render({**common, **values})
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _number(name: str, text: str, most: int) -> int:
    """A number of a query. Raises `BadSelection`."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise BadSelection(f"{name}: expected a number from 1 to {most}")
    return int(text)


def _json(question: Callable[[web.Request], Awaitable[Report]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that answers with a report, as the verb prints it with `--json`."""

    async def answer(request: web.Request) -> web.Response:
        return _as_json(await question(request))

    return answer


def _as_json(report: Report) -> web.Response:
    return web.Response(text=report.model_dump_json(by_alias=True, indent=2), content_type="application/json")


def _refusals_seen(report: ActivityReport | None, request: web.Request) -> tuple[RefusedCompany, ...]:
    """The hour's refusals, without companies for readers who may not see them."""
    rows = report.refusals if report else ()
    return rows if request[READER].sees_companies else by_reason(rows)


async def _newest(asking: Awaitable[LastReport[SomeReport]]) -> SomeReport:
    """The newest report, useful or not."""
    known = await asking
    if known.newest is None:
        raise web.HTTPServiceUnavailable(reason="Not known yet. Try again.")
    return known.newest
