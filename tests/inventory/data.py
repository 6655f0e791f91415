"""What is in each column and topic. A new one fails a test until it stands here."""

from collections.abc import Mapping
from typing import NamedTuple

_NONE: Mapping[str, str] = {}
_DAY = "dropped with its day after the retention"
_STAYS = "stays"
_CATALOGUE = "stays; `catalogue load` replaces it"
_JOURNAL = "stays; `audit` and `redrive` read it"


class Table(NamedTuple):
    """A table. `personal` says what personal data may be in a column; `others` are the columns that have none."""

    why: str
    personal: Mapping[str, str]
    others: str
    ends: str


TABLES: Mapping[str, Table] = {
    "activity": Table("counts for the console", _NONE, "minute group_id member counts", "deleted after a day"),
    "api_key": Table(
        "whose command it is",
        {"label": "a note, which may name a person"},
        "sha256 company_id revoked_at",
        "stays; revoked by `keys revoke` and `company close`",
    ),
    "company": Table(
        "the tenants",
        {"name": "a sole trader's name", "prefill": "contact fields for all passports of the company"},
        "id plan_id subscription signatures_required_from number channels closed_at",
        "stays, since passports name it; `catalogue load` replaces name and prefill",
    ),
    "catalogue_version": Table("whether reference data changed", _NONE, "version", _STAYS),
    "company_day": Table(
        "who floods, who is refused",
        _NONE,
        "day company_id group_id member answered refused accepted_at",
        "deleted after the retention",
    ),
    "company_usage": Table("used slots of the plan", _NONE, "company_number slots_used", _STAYS),
    "daily_writes": Table(
        "used part of the day's budget", _NONE, "company_number day writes recorded_on", "deleted after the retention"
    ),
    "dead_letter": Table(
        "to inspect unreadable records, and to publish them again",
        {
            "key": "free text of the producer",
            "value": "the whole record, parties too",
            "header_names": "free text of the producer",
            "header_values": "the same; never `authorization`",
        },
        "lane_id offset recorded_on reason",
        _DAY,
    ),
    "gtin_registration": Table("whose GTIN it is", _NONE, "gtin company_id", _STAYS),
    "idempotency_key": Table(
        "no second passport for a repeated command; the id is a hash",
        _NONE,
        "id day fingerprint passport_id created_at company_number",
        _DAY,
    ),
    "lane": Table(
        "how far commands are answered",
        _NONE,
        "id group_id topic partition epoch generation_id member_id applied emitted ledger_from cluster_id topic_id "
        "producers holder",
        _STAYS,
    ),
    "ledger": Table(
        "to publish a result again, and to explain it",
        {
            "key": "the idempotency key, free text of the producer",
            "value": "a refusal, which from rule 7 on repeats the request, parties too",
            "traceparent": "free text of the producer",
            "tracestate": "free text of the producer",
        },
        "lane_id offset recorded_on appended_at kind replayed company_id passport_id",
        _DAY,
    ),
    "oauth_key_set": Table(
        "public keys of authorization servers", _NONE, "issuer location keys read_at", "replaced by newer keys"
    ),
    "operation": Table(
        "which operator changed what, and why",
        {
            "who": "name or user of the operator",
            "role": "a database role, which may be a person's",
            "reason": "free text of the operator",
            "arguments": "ids, labels and names of files",
            "progress": "names of operators who resumed it",
        },
        "id verb begun_at ended_at outcome",
        _JOURNAL,
    ),
    "overage_charge": Table(
        "the invoice", _NONE, "passport_id company_number price_cents charged_at", "stays, as an accounting record"
    ),
    "passport": Table(
        "the passports",
        {
            "rest": "parties: legal name, country, GLN, other ids, URL",
            "serial": "chosen by the producer; should name a unit only",
            "gs1": "the serial number again",
        },
        "created_at id company_number gtin frame_id",
        "stays: [why](data.md#why-fields-of-stored-passports-are-not-erased)",
    ),
    "passport_frame": Table(
        "the text that passports of a product share",
        {"text": "fields with prefills and default values"},
        "id product_id template_id",
        "stays, like the passports that use it",
    ),
    "plan": Table("limits and prices", _NONE, "id max_dpps overage_price_cents max_v1_writes_per_day", _CATALOGUE),
    "product": Table(
        "what passports are created for",
        {"default_field_values": "contact fields for all passports of the product"},
        "id company_id template_id name model",
        _CATALOGUE,
    ),
    "redrive": Table(
        "commands that were published again",
        _NONE,
        "topic partition offset times operation_id log_end new_offset",
        _JOURNAL,
    ),
    "schema_migration": Table(
        "the version of the database", _NONE, "version name sha256 readable_from applied_by applied_at", _STAYS
    ),
    "signing_key": Table(
        "whose signed command it is",
        {"label": "a note, which may name a person"},
        "kid company_id jwk not_before revoked_at",
        "stays; revoked by `catalogue load` and `company close`",
    ),
    "template": Table(
        "the fields of a passport",
        {"fields": "default values for passports of all companies"},
        "id category version",
        _CATALOGUE,
    ),
}
"""By name. Days of a table are not listed."""


class Topic(NamedTuple):
    """A topic of each channel. `may_read` is who may read it beside the workers and administrators."""

    personal: str
    why: str
    may_read: str


_RESULTS = "the company, on the default channel all companies; reader, repairer"
_REQUEST = "the request with its parties; the idempotency key"

TOPICS: Mapping[str, Topic] = {
    "topic_commands": Topic(
        "the request with its parties; the idempotency key; credentials, and in access tokens what the issuer writes "
        "into them (`sub`)",
        "commands",
        "reader, repairer, redriver",
    ),
    "topic_created": Topic(
        "whole passports: parties, prefills, default values; the idempotency key", "passports", _RESULTS
    ),
    "topic_overage_required": Topic(_REQUEST, "refusals", _RESULTS),
    "topic_conflict": Topic(_REQUEST, "refusals", _RESULTS),
    "topic_rejected": Topic("from rule 7 on the request with its parties; the idempotency key", "refusals", _RESULTS),
    "dead_letter_topic": Topic(
        "the whole record as it was sent, without `authorization`",
        "records that could not be processed",
        "reader, repairer",
    ),
}
"""By the name in the settings."""
