"""What `doctor` reports, asked in this process: many cases would start as many others."""

from worker.observability.certificates import CERTIFICATES
from worker.settings import Settings
from worker.tools.common.servers import AWAY_SECONDS, both_servers
from worker.tools.doctor.doctor import CHECKS, doctor
from worker.tools.doctor.report import CheckReport

NOT_CONFIGURED = {"backup.newest", "oauth.jwks", "oauth.tls", *(f"certificates.{name}" for name in CERTIFICATES)}

IN_CLEAR = {"kafka.tls", "postgres.tls"}
"""The servers of most tests are on loopback, without TLS: that is a warning."""


async def examined(settings: Settings, patience: float = AWAY_SECONDS) -> dict[str, CheckReport]:
    """What `doctor` reports of each check."""
    async with both_servers(settings, patience) as both:
        report = await doctor(both)
    assert tuple(one.id for one in report.checks) == CHECKS
    assert [one.code for one in report.problems] == [one.id for one in report.checks if one.status == "failed"]
    assert all((one.advice is not None) or one.status in ("ok", "skipped") for one in report.checks)
    return {one.id: one for one in report.checks}


async def only(settings: Settings, id: str, status: str, patience: float = AWAY_SECONDS) -> CheckReport:
    """The report of a check, which is not ok; all that do not presume it are, but for connections in clear."""
    found = await examined(settings, patience)
    assert {one.id for one in found.values() if one.status in ("failed", "warning")} - IN_CLEAR == {id}, found
    assert {found[one].status for one in IN_CLEAR} <= {"warning", "skipped"}
    assert found[id].status == status
    skipped = {one.id for one in found.values() if one.status == "skipped"} - NOT_CONFIGURED - {"clock.log"}
    assert all(found[one].finding == f"not checked, since {id} has failed" for one in skipped), found
    return found[id]
