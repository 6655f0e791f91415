"""Each statement that reads or writes rows of companies, as one company's work would run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.contract.two_companies import GROUP, HOLDER, KEY, NOON, SERIAL, SHARED_LANE, THEM, TODAY, US
from worker.store import sql

FILLED_IN = ("begin", "grants", "read_grants")
"""Files with places that the worker fills in before it runs them."""

NEW_GTIN, THIRD = "00000000000031", "c" * 24
_NEW = UUID(int=99)
_NOON_MS = round(NOON.timestamp() * 1000)
_CLAIM = ((sql.load("claim_gtins"), ([NEW_GTIN], [US.id])),)
"""As a turn begins that meets a GTIN without an owner."""


@dataclass(frozen=True, slots=True)
class Run:
    """Arguments of `US`. Ids of `THEM` stand among them where a command, a file or an operator could name one."""

    arguments: Sequence[Any]
    before: Sequence[tuple[str, Sequence[Any]]] = ()
    """Statements that come before it in its transaction."""
    discloses: str | None = None
    """Why its answer may depend on the rows of the other company, whose rows stay as they are all the same."""


def _run(*arguments: Any) -> tuple[Run, ...]:
    return (Run(arguments),)


def _gathering(gtins: Sequence[str]) -> Sequence[Any]:
    days = [(TODAY - TODAY.replace(1970, 1, 1)).days]
    serials = ([US.number, US.number], f"{US.gtin}\x1f{THEM.gtin}", f"{SERIAL}\x1f{SERIAL}")
    return ([US.lane], [US.number], [US.number], days, "\x1f".join(gtins), *serials, US.key, 0)


_RECORD = (
    *(bytes(12), str(US.number), THEM.gtin, SERIAL, str(_NOON_MS), THEM.frame, "", "", US.key, US.digest, [75]),
    *(str(US.lane), "2", str(_NOON_MS), bytes([4]), [False], KEY, US.id, "", [None], [None], [b"{}"]),
    *([US.lane], [3], [0], [THEM.frame], [US.id], [US.id], ["another text under an id that is taken"]),
)
_CLOSED = (("UPDATE company SET closed_at = '2026-05-09'", ()),)
_FOREIGN_GTIN = "rule 10: a GTIN has one company. The event tells no more than that"
_PLANNED = (
    (sql.load("plan_tables", "worker.tools.lanes"), ()),
    (
        "INSERT INTO planned_passport VALUES (0, 5, $1, $2, $3, 's-1', '')",
        (US.passport.hex(), US.id, US.gtin),
    ),
)

RUNS: Mapping[str, Mapping[str, Sequence[Run]]] = {
    "worker.store": {
        "answers": _run(US.lane, 0, 100, 100, 1_000_000),
        "api_keys": _run([US.digest]),
        "bindings": _run(US.key, 0, 1_000_000),
        "claim_gtins": (
            Run(([NEW_GTIN, THEM.gtin], [US.id, US.id]), discloses=_FOREIGN_GTIN),
            Run(([NEW_GTIN], [US.id])),
        ),
        "companies": _run([US.id]),
        "dead_letters": _run(US.lane, 5, "reason", None, b"", [], []),
        "frames": _run([US.frame]),
        "gather": (
            Run(_gathering([US.gtin, THEM.gtin]), discloses=_FOREIGN_GTIN),
            Run(_gathering([US.gtin])),
        ),
        "gtin_owners": (Run(([US.gtin, THEM.gtin],), discloses=_FOREIGN_GTIN), Run(([US.gtin],))),
        "lanes": _run(GROUP, [US.topic]),
        "list_only": _run([US.lane, THEM.lane], [1, 0], [HOLDER, HOLDER], "p-2"),
        "lock_companies": _run([US.id]),
        "lock_partitions": _run(GROUP, [US.topic], [0]),
        "mark_emitted": _run([US.lane, THEM.lane], [1, 0], [HOLDER, HOLDER], [1, 1]),
        "note_set_back": _run(US.topic, 0, 0, "member", 2),
        "other_groups": _run("another group", US.topic),
        "positions": _run([US.lane]),
        "products": _run([US.id, THEM.id], [US.id], 1_000_000),
        "record": _run(*_RECORD),
        "register": _run(GROUP, [US.topic], [0], 1, "member", False, "p-2"),
        "release_gtins": (Run(([NEW_GTIN, THEM.gtin], [US.id, US.id]), _CLAIM),),
        "settle_gtins": (Run(([NEW_GTIN, THEM.gtin], [US.id, US.id], [THIRD, US.id]), _CLAIM),),
        "signing_keys": _run([US.kid]),
        "start_lane": _run(US.lane, 1, 7, "cluster", "topic", HOLDER),
        "write_company_days": _run(GROUP, "member", [TODAY], [US.id], [9], [9], [None]),
    },
    "worker.tools.catalogue": {
        "api_key_owners": _run([US.digest]),
        "create_usage": (Run(([US.id],), ((f"DELETE FROM company_usage WHERE company_number = {US.number}", ()),)),),
        "known_references": _run([US.plan], [US.id], [US.id]),
        "signing_key_owners": _run([US.kid]),
        "stored_api_keys": (Run((None, US.id)), Run(([US.digest, THEM.digest], US.id))),
        "stored_companies": (Run((None, US.id)), Run(([US.id, THEM.id], US.id))),
        "stored_plans": (Run((None, US.id)), Run(([US.plan, THEM.plan], US.id))),
        "stored_products": (Run((None, US.id)), Run(([US.id, THEM.id], US.id))),
        "stored_signing_keys": (Run((None, US.id)), Run(([US.kid, THEM.kid], US.id))),
        "stored_templates": (Run((None, US.id)), Run(([US.id, THEM.id], US.id))),
        "template_fields": _run([US.id]),
        "upsert_api_keys": _run([US.digest, THEM.digest], [US.id] * 2, ["new"] * 2, [NOON] * 2, []),
        "upsert_companies": _run([US.id], ["new"], [US.plan], [None], ["{}"], [None], [], ["[]"], [NOON], []),
        "upsert_plans": _run([US.plan], [1], [1], [1]),
        "upsert_products": _run([US.id], [US.id], [US.id], ["new"], ["m"], ["{}"]),
        "upsert_signing_keys": _run(
            [US.kid, THEM.kid], [US.id] * 2, ["{}"] * 2, ["new"] * 2, [NOON] * 2, [NOON] * 2, [], [], []
        ),
        "upsert_templates": _run([US.id], ["textile"], [2], ["[]"]),
    },
    "worker.tools.common": {
        "add_api_key": _run(bytes(32), US.id, "new"),
        "begin_operation": _run(_NEW, "replay", "who", "reason", f'{{"topic": "{US.topic}"}}'),
        "closed_companies": (Run(([US.id],), _CLOSED),),
        "companies_named": _run("Company a"),
        "company_names": _run([US.id]),
        "covered_repeats": _run(US.topic),
        "end_operation": _run(US.operation, "done", "{}"),
        "find_api_keys": _run(US.digest, US.digest, 10),
        "lock_api_key": _run(US.digest),
        "list_api_keys": _run(US.id),
        "note_progress": _run(US.operation, '{"at": 1}'),
        "operation": _run(US.operation),
        "planned_revocation": _run(US.digest, NOON, timedelta()),
        "resume_operation": _run(US.operation, '{"at": 1}'),
        "revoke_api_key": _run(US.digest, NOON, timedelta()),
    },
    "worker.tools.company": {
        "close_company": (Run((US.id,), _CLOSED),),
        "exported_api_keys": _run(US.id),
        "exported_company": _run(US.id),
        "exported_passports": _run(US.number, "", "", 10),
        "exported_products": _run(US.id),
        "exported_signing_keys": _run(US.id),
        "planned_closing": _run(US.id),
        "unit_of_passport": _run(US.number, US.passport.hex()),
    },
    "worker.tools.dead_letters": {
        "begin_redrive": _run(US.topic, 0, 1, 2, US.operation, 9),
        "find_dead_letter": _run(GROUP, US.topic, 0, 1),
        "list_dead_letters": _run(GROUP, [US.topic], [], None, None, None, None, None, 10),
        "note_redrive": _run(US.topic, 0, 1, 1, 11, US.operation),
        "redrives": _run(US.topic, 0, 1),
    },
    "worker.tools.explain": {
        "answers_under_key": _run(SHARED_LANE, 0, 100, US.id, KEY, 10),
        "api_key_label": _run(US.digest),
        "charge": _run(US.passport.hex()),
        "key_bindings": _run(US.key),
        "ledger_rows_behind": _run([US.lane], [0], [100]),
        "passport_by_id": _run(US.passport.hex()),
        "passport_by_serial": _run(US.gtin, SERIAL),
        "signing_key_label": _run(US.kid),
    },
    "worker.tools.lanes": {
        "ledger_rows_in": _run(US.lane, 0, 100),
        "make_lane": _run(GROUP, US.topic, 5),
        "move_applied": _run(US.lane, 1, 5, 2, HOLDER),
        "plan_refusals": (Run((10,), _PLANNED),),
        "raise_epochs": _run(GROUP, US.topic),
        "slots_above_plan": _run([US.id], [1], [0]),
    },
    "worker.tools.quota": {
        "quotas": _run(US.id, None, TODAY, None, False),
    },
    "worker.tools.replay": {
        "first_since": _run(US.lane, 0, 100, NOON),
    },
}

OF_ALL: Mapping[str, Mapping[str, str]] = {
    "worker.store": {
        "create_day": "makes empty tables",
        "day_is_needed": "housekeeping: a day has rows of all companies",
        "delete_company_days": "housekeeping: deletes counts past the retention",
        "delete_daily_writes": "housekeeping: deletes counts past the retention",
        "drop_day": "housekeeping: a day has rows of all companies",
        "lock_all_lanes": "locks, and changes nothing",
        "newest_backup": "a metric; operators write the journal, and no company reads it",
        "refused_companies": "counts for metrics that name no company",
    },
    "worker.tools.common": {
        "all_companies": "operators search it for a company's name",
        "companies_that_sign": "`doctor` counts them for operators",
        "companies_without_signing_key": "`doctor` names them to operators",
        "lanes_of_group": "operators see the lanes of all channels; no row of a lane holds a company's data",
        "open_operations": "`doctor` names them to operators",
    },
    "worker.tools.console": {
        "activity_refusals": "the console's list of companies, for operators",
    },
}
"""Statements for all companies at once, and why: no answer to a company is made from them."""
