"""The thirteen rules: each alone, all in their order, and what a batch sees of itself."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.builders import (
    COMPANY,
    DIGEST,
    EARLIER,
    GTIN,
    LINK_BASE,
    NO_OVERAGE,
    NOW_MS,
    OTHER_COMPANY,
    OTHER_PRODUCT,
    PLAN,
    PRODUCT,
    SERIAL,
    TOPIC,
    UNLIMITED,
    body,
    command,
    facts,
    keyed,
    product,
)
from worker.domain.catalogue import Company, Plan
from worker.domain.command import (
    AccessToken,
    ApiKey,
    Command,
    Credentials,
    InvalidBody,
    NoCredentials,
    Source,
    UnreadableRecord,
)
from worker.domain.credentials import authenticate
from worker.domain.decide import decide
from worker.domain.facts import Binding, Facts
from worker.domain.outcomes import (
    Asked,
    Created,
    CredentialsProblem,
    DailyWritesSpent,
    Forbidden,
    GtinRegistered,
    HardBlock,
    IdempotencyKeyReused,
    Invalid,
    MalformedIdempotencyKey,
    Outcome,
    OverageRequired,
    ProductNotFound,
    RefusedRequest,
    Replayed,
    SerialExists,
    SubscriptionInactive,
    Unauthorized,
    Unreadable,
)
from worker.domain.timestamps import DAY_MS
from worker.messages.events import describe
from worker.messages.json_value import fingerprint

ASKED = Asked(COMPANY, PRODUCT, GTIN, SERIAL)
INVALID = InvalidBody({"gs1.gtin": ["GTIN must be 14 digits"]})
DAY = NOW_MS // DAY_MS


def _token(
    company_id: str = COMPANY, scope: str = "passports:write", expires_at: float = 4e9, not_before: float = 0.0
) -> AccessToken:
    return AccessToken(company_id, frozenset({scope}), expires_at, not_before)


def _binding(created_ms: int = NOW_MS - 1, of: dict[str, object] | None = None) -> Binding:
    return Binding(fingerprint(of or body()), EARLIER, b'{"_id":"earlier"}', created_ms)


def _bound(known: Facts, binding: Binding, key: str = "key-1", company_id: str = COMPANY) -> Facts:
    known.bindings[company_id, key] = binding
    return known


def test_a_valid_command_creates_a_passport() -> None:
    """Rule 13: everything about it comes from the record and the product."""
    wanted = keyed(parties={"importer": {"legalName": "X", "gln": "4012345000009"}})
    assert decide(wanted, facts()) == Created(
        passport_id=wanted.source.passport_id,
        company_id=COMPANY,
        product=product(),
        gtin=GTIN,
        serial=SERIAL,
        parties={"importer": {"legalName": "X", "gln": "4012345000009"}},
        overage_price_cents=None,
        created_ms=NOW_MS,
        utc_day=DAY,
        idempotency_key="key-1",
        fingerprint=fingerprint(body()),
    )


def test_rule_1_an_unreadable_record_is_refused_before_all_else() -> None:
    """Its credentials are not even looked at."""
    unreadable = command(body=UnreadableRecord("bom", "Expected …"), credentials=NoCredentials.MISSING)
    assert decide(unreadable, Facts()) == Unreadable("Expected …")


@pytest.mark.parametrize(
    ("credentials", "revoked_ms", "company_id"),
    [
        *((seen, None, None) for seen in NoCredentials),
        (ApiKey(b"?" * 32), None, None),
        (ApiKey(DIGEST), None, COMPANY),
        (ApiKey(DIGEST), NOW_MS + 1, COMPANY),
        (ApiKey(DIGEST), NOW_MS, None),
        (ApiKey(DIGEST), 0, None),
        (_token(), None, COMPANY),
        (_token("f" * 24), None, None),
        (_token(OTHER_COMPANY), None, OTHER_COMPANY),
        (_token(expires_at=NOW_MS / 1000), None, None),
        (_token(expires_at=NOW_MS / 1000 + 0.001), None, COMPANY),
        (_token(not_before=NOW_MS / 1000), None, COMPANY),
        (_token(not_before=NOW_MS / 1000 + 0.001), None, None),
        (_token(not_before=float("-inf"), expires_at=float("inf")), None, COMPANY),
        (_token(expires_at=float("nan")), None, None),
        (_token(not_before=float("nan")), None, None),
    ],
)
def test_rule_2_credentials_are_judged_at_the_append_time(
    credentials: Credentials, revoked_ms: int | None, company_id: str | None
) -> None:
    """Valid before revocation and expiry, from not-before on, for a company that is known."""
    wanted, known = command(credentials=credentials), facts(revoked_ms=revoked_ms)
    company = authenticate(wanted, known)
    assert (company.id if isinstance(company, Company) else None) == company_id
    assert isinstance(decide(wanted, known), Unauthorized) is (company_id is None)


def test_rule_2_an_api_key_of_a_company_that_is_gone_is_unknown() -> None:
    """A grant alone opens nothing."""
    known = facts()
    known.companies.clear()
    assert decide(command(), known) == Unauthorized()


@pytest.mark.parametrize("credentials", [ApiKey(DIGEST), _token()], ids=["API key", "access token"])
@pytest.mark.parametrize(
    ("channels", "channel", "is_allowed"),
    [
        (None, "acme", True),
        ({"acme"}, "acme", True),
        ({"acme", "globex"}, "globex", True),
        ({"acme"}, "", False),
        ({"acme"}, "acme-2", False),
        ({""}, "", True),
        ({""}, "acme", False),
    ],
)
def test_rule_2_a_company_uses_its_own_channels(
    credentials: ApiKey | AccessToken, channels: set[str] | None, channel: str, is_allowed: bool
) -> None:
    """Elsewhere its credentials are of no use to whoever stole them."""
    known = facts()
    bound = None if channels is None else frozenset(channels)
    known.companies[COMPANY] = known.companies[COMPANY]._replace(channels=bound)
    outcome = decide(command(credentials=credentials, channel=channel), known)
    wrong = Unauthorized(CredentialsProblem.WRONG_CHANNEL)
    assert isinstance(outcome, Created) if is_allowed else outcome == wrong


@pytest.mark.parametrize("scope", ["", "passports:read", "passports:writer", "PASSPORTS:WRITE"])
def test_rule_3_a_token_needs_the_scope(scope: str) -> None:
    """Exactly `passports:write`; API keys always carry it."""
    assert decide(command(credentials=_token(scope=scope)), facts()) == Forbidden(COMPANY)


def test_rule_4_a_malformed_idempotency_key_is_refused() -> None:
    """Present, but no key."""
    assert decide(command(key_is_malformed=True), facts()) == MalformedIdempotencyKey(COMPANY)


@pytest.mark.parametrize(
    ("age_ms", "replayed"),
    [(0, True), (1, True), (DAY_MS - 1, True), (DAY_MS, False), (DAY_MS + 1, False), (-5, True)],
)
def test_rule_5_a_key_is_bound_for_24_hours_from_the_creation(age_ms: int, replayed: bool) -> None:
    """To the millisecond; a record whose clock stands before the creation is within them."""
    outcome = decide(keyed(), _bound(facts(), _binding(NOW_MS - age_ms)))
    assert isinstance(outcome, Replayed if replayed else Created)


def test_rule_5_the_original_event_is_repeated_or_the_reuse_refused() -> None:
    """By the fingerprint of the whole body."""
    known = _bound(facts(), _binding())
    assert decide(keyed(), known) == Replayed(COMPANY, EARLIER, b'{"_id":"earlier"}')
    assert decide(keyed(of=body(ignored=1)), known) == IdempotencyKeyReused(COMPANY)


def test_rule_5_the_scope_of_a_key_is_the_company() -> None:
    """Another company's key, another key, and no key are not bound."""
    assert isinstance(decide(keyed(), _bound(facts(), _binding(), company_id=OTHER_COMPANY)), Created)
    assert isinstance(decide(keyed("key-2"), _bound(facts(), _binding())), Created)
    assert isinstance(decide(command(), _bound(facts(), _binding())), Created)


def test_rule_6_an_invalid_body_is_refused_with_all_its_errors() -> None:
    """They were found while it was read."""
    assert decide(command(body=INVALID), facts()) == Invalid(COMPANY, INVALID.field_errors)


@pytest.mark.parametrize("subscription", [None, "active", "trialing"])
def test_rule_7_these_subscriptions_may_write(subscription: str | None) -> None:
    """Active, trialing, or none needed."""
    assert isinstance(decide(command(), facts(subscription=subscription)), Created)


@pytest.mark.parametrize("subscription", ["past_due", "canceled", "Active", ""])
def test_rule_7_any_other_subscription_is_inactive(subscription: str) -> None:
    """The answer says which."""
    assert decide(command(), facts(subscription=subscription)) == SubscriptionInactive(ASKED, subscription)


@pytest.mark.parametrize("product_id", [OTHER_PRODUCT, "0" * 24])
def test_rule_8_a_foreign_product_is_as_unknown_as_a_missing_one(product_id: str) -> None:
    """Nothing of another company shows."""
    outcome = decide(command(product_id=product_id), facts())
    assert outcome == ProductNotFound(replace(ASKED, product_id=product_id))


@pytest.mark.parametrize(
    ("writes", "plan", "refused"), [(199, PLAN, False), (200, PLAN, True), (999, UNLIMITED, False)]
)
def test_rule_9_the_write_budget_is_of_the_utc_day(writes: int, plan: Plan, refused: bool) -> None:
    """The 200th write passes, the 201st does not, and after midnight it does."""
    known = facts(plan, writes=writes)
    outcome = decide(command(), known)
    assert outcome == DailyWritesSpent(ASKED, 200, writes) if refused else isinstance(outcome, Created)
    tomorrow = Source(TOPIC, 3, 7, (DAY + 1) * DAY_MS)
    assert isinstance(decide(command(source=tomorrow), known), Created)
    last_of_today = Source(TOPIC, 3, 7, (DAY + 1) * DAY_MS - 1)
    assert isinstance(decide(command(source=last_of_today), known), DailyWritesSpent) is refused


def test_rule_9_a_plan_may_sell_no_writes_at_all() -> None:
    """Zero is a limit, not the lack of one."""
    assert decide(command(), facts(PLAN._replace(max_v1_writes_per_day=0))) == DailyWritesSpent(ASKED, 0, 0)


def test_rule_10_a_gtin_belongs_to_the_company_that_used_it_first() -> None:
    """Its own company may use it again."""
    known = facts()
    known.gtin_owners[GTIN] = OTHER_COMPANY
    assert decide(command(), known) == GtinRegistered(ASKED)
    known.gtin_owners[GTIN] = COMPANY
    assert isinstance(decide(command(), known), Created)


def test_rule_11_a_serial_number_is_new_within_its_gtin() -> None:
    """Case counts, and so does every character."""
    known = facts()
    known.serials[GTIN, SERIAL] = EARLIER
    assert decide(command(), known) == SerialExists(ASKED, EARLIER)
    assert isinstance(decide(command(serial=SERIAL.lower()), known), Created)
    assert isinstance(decide(command(gtin="00000000000000"), known), Created)


@pytest.mark.parametrize(
    ("plan", "used", "confirmed", "expected"),
    [
        (PLAN, 99, False, None),
        (PLAN, 99, True, None),
        (PLAN, 100, True, 75),
        (PLAN, 500, True, 75),
        (PLAN._replace(overage_price_cents=0), 100, True, 0),
        (PLAN, 100, False, OverageRequired(ASKED, 100, 100, 75)),
        (PLAN._replace(overage_price_cents=0), 101, False, OverageRequired(ASKED, 100, 101, 0)),
        (NO_OVERAGE, 99, True, None),
        (NO_OVERAGE, 100, True, HardBlock(ASKED, 100, 100)),
        (NO_OVERAGE, 100, False, HardBlock(ASKED, 100, 100)),
        (PLAN._replace(max_dpps=0), 0, False, OverageRequired(ASKED, 0, 0, 75)),
        (UNLIMITED, 10**9, False, None),
        (PLAN._replace(max_dpps=None), 10**9, True, None),
    ],
)
def test_rule_12_a_slot_is_free_or_overage_is_confirmed(
    plan: Plan, used: int, confirmed: bool, expected: Outcome | int | None
) -> None:
    """Only a confirmed overage is charged, also at price 0; under quota confirming costs nothing."""
    outcome = decide(command(confirm_overage=confirmed), facts(plan, used=used))
    if isinstance(outcome, Created):
        assert outcome.overage_price_cents == expected
    else:
        assert outcome == expected


Breakage = Callable[[Command, Facts], Command]


def _unreadable(wanted: Command, known: Facts) -> Command:
    return wanted._replace(body=UnreadableRecord("bom", "Expected …"))


def _unauthorized(wanted: Command, known: Facts) -> Command:
    return wanted._replace(credentials=replace(_token(), expires_at=0.0))


def _forbidden(wanted: Command, known: Facts) -> Command:
    expires_at = wanted.credentials.expires_at if isinstance(wanted.credentials, AccessToken) else 4e9
    return wanted._replace(credentials=_token(scope="openid", expires_at=expires_at))


def _malformed_key(wanted: Command, known: Facts) -> Command:
    return wanted._replace(key_is_malformed=True)


def _reused_key(wanted: Command, known: Facts) -> Command:
    _bound(known, _binding(of={"another": "body"}))
    return wanted


def _invalid(wanted: Command, known: Facts) -> Command:
    return wanted if isinstance(wanted.body, UnreadableRecord) else wanted._replace(body=INVALID)


def _inactive(wanted: Command, known: Facts) -> Command:
    known.companies[COMPANY] = known.companies[COMPANY]._replace(subscription="past_due")
    return wanted


def _no_product(wanted: Command, known: Facts) -> Command:
    known.products.clear()
    return wanted


def _no_writes(wanted: Command, known: Facts) -> Command:
    known.writes[COMPANY, DAY] = 200
    return wanted


def _foreign_gtin(wanted: Command, known: Facts) -> Command:
    known.gtin_owners[GTIN] = OTHER_COMPANY
    return wanted


def _used_serial(wanted: Command, known: Facts) -> Command:
    known.serials[GTIN, SERIAL] = EARLIER
    return wanted


def _no_slot(wanted: Command, known: Facts) -> Command:
    known.slots_used[COMPANY] = 100
    return wanted


RULES: list[tuple[Breakage, type[Outcome]]] = [
    (_unreadable, Unreadable),
    (_unauthorized, Unauthorized),
    (_forbidden, Forbidden),
    (_malformed_key, MalformedIdempotencyKey),
    (_reused_key, IdempotencyKeyReused),
    (_invalid, Invalid),
    (_inactive, SubscriptionInactive),
    (_no_product, ProductNotFound),
    (_no_writes, DailyWritesSpent),
    (_foreign_gtin, GtinRegistered),
    (_used_serial, SerialExists),
    (_no_slot, OverageRequired),
]


@pytest.mark.parametrize("first", range(len(RULES)), ids=[rule[0].__name__ for rule in RULES])
def test_the_first_rule_that_fails_answers(first: int) -> None:
    """For each rule: alone, with each later one, and with all later ones, its own outcome comes out."""
    later = RULES[first + 1 :]
    for others in ([], later, *([one] for one in later)):
        wanted, known = keyed(), facts()
        for breakage, _ in (RULES[first], *others):
            wanted = breakage(wanted, known)
        assert type(decide(wanted, known)) is RULES[first][1], [breakage.__name__ for breakage, _ in others]


@pytest.mark.parametrize(("breakage", "kind"), RULES[6:], ids=[rule[0].__name__ for rule in RULES[6:]])
def test_a_refusal_from_rule_7_on_repeats_the_parties(breakage: Breakage, kind: type[Outcome]) -> None:
    """Whoever consents to overage sends the whole request again."""
    parties = {"importer": {"legalName": "X", "gln": "4012345000009"}}
    known = facts()
    outcome = decide(breakage(keyed(parties=parties), known), known)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, RefusedRequest)
    assert outcome.asked == replace(ASKED, parties=parties)


def test_a_replay_comes_before_all_that_changed_since() -> None:
    """Subscription, product, budget, GTIN, serial and slots are not looked at again."""
    wanted, known = keyed(), _bound(facts(), _binding())
    for breakage, _ in RULES[6:]:
        wanted = breakage(wanted, known)
    assert isinstance(decide(wanted, known), Replayed)


def _at(offset: int, appended_ms: int = NOW_MS) -> Source:
    return Source(TOPIC, 3, offset, appended_ms)


def _run(known: Facts, *commands: Command) -> list[Outcome]:
    """A batch, as the worker runs it."""
    outcomes = []
    for wanted in commands:
        outcome = decide(wanted, known)
        if isinstance(outcome, Created):
            known.absorb(outcome, describe(wanted, outcome, LINK_BASE).value)
        outcomes.append(outcome)
    return outcomes


def test_a_batch_sees_its_own_serials_and_gtins() -> None:
    """The second duplicate serial is a conflict with the first, and the GTIN is taken for others."""
    other = command(source=_at(9), credentials=_token(OTHER_COMPANY), product_id=OTHER_PRODUCT, serial="other")
    first, second, third = _run(facts(), command(source=_at(7)), command(source=_at(8)), other)
    assert isinstance(first, Created)
    assert second == SerialExists(ASKED, first.passport_id)
    assert third == GtinRegistered(Asked(OTHER_COMPANY, OTHER_PRODUCT, GTIN, "other"))


def test_a_batch_sees_the_slots_and_writes_it_takes() -> None:
    """The 101st of 100 slots is overage, and only what was created counts as a write."""
    serials = ["a", "a", "b", "c"]
    commands = [command(source=_at(7 + index), serial=serial) for index, serial in enumerate(serials)]
    outcomes = _run(facts(used=98, writes=197), *commands)
    assert [type(outcome) for outcome in outcomes] == [Created, SerialExists, Created, OverageRequired]
    confirmed = [command(source=_at(20 + index), serial=f"d{index}", confirm_overage=True) for index in range(2)]
    known = facts(used=98, writes=198)
    assert [type(outcome) for outcome in _run(known, *commands[:3], *confirmed)] == [
        Created, SerialExists, Created, DailyWritesSpent, DailyWritesSpent,
    ]  # fmt: skip
    assert known.slots_used[COMPANY] == 100
    assert known.writes[COMPANY, DAY] == 200


def test_a_batch_sees_the_keys_it_binds() -> None:
    """The same key with the same body replays the very bytes; with another it is refused; a replay counts nothing."""
    known = facts()
    first, second, third = _run(known, keyed(source=_at(7)), keyed(source=_at(8)), keyed(source=_at(9), of={"x": 1}))
    assert isinstance(first, Created)
    assert isinstance(second, Replayed)
    assert second.passport_id == first.passport_id == json.loads(second.created_body)["_id"]
    assert third == IdempotencyKeyReused(COMPANY)
    assert (known.slots_used[COMPANY], known.writes[COMPANY, DAY]) == (1, 1)


def test_a_refusal_leaves_nothing_behind() -> None:
    """The key of a refused command may be used again, with another body too."""
    known = facts(used=100)
    confirmed = keyed(source=_at(8), of=body(confirmOverage=True), confirm_overage=True)
    outcomes = _run(known, keyed(source=_at(7)), confirmed)
    assert [type(outcome) for outcome in outcomes] == [OverageRequired, Created]


def test_a_replay_does_not_extend_the_24_hours_and_then_the_key_binds_again() -> None:
    """Creation, a late replay, and after a day a new passport under the same key."""
    late, after = NOW_MS + DAY_MS - 1, NOW_MS + DAY_MS
    outcomes = _run(
        facts(),
        keyed(source=_at(7)),
        keyed(source=_at(8, late)),
        keyed(source=_at(9, after), serial="next"),
        keyed(source=_at(10, after + 5)),
    )
    assert [type(outcome) for outcome in outcomes] == [Created, Replayed, Created, Replayed]
    created, replayed = outcomes[2], outcomes[3]
    assert isinstance(created, Created)
    assert isinstance(replayed, Replayed)
    assert replayed.passport_id == created.passport_id


def test_a_command_without_a_key_binds_none() -> None:
    """Nothing is bound where nothing was sent."""
    known = facts()
    _run(known, command())
    assert known.bindings == {}


def test_every_company_has_its_own_counts() -> None:
    """Slots and writes of one company do not count for another."""
    known = facts(used=100, writes=200)
    other = command(credentials=_token(OTHER_COMPANY), product_id=OTHER_PRODUCT)
    assert [type(outcome) for outcome in _run(known, other)] == [Created]
    assert known.slots_used == {COMPANY: 100, OTHER_COMPANY: 1}
