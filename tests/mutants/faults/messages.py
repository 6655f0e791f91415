"""Faults of reading records and credentials, and of writing results."""

from tests.mutants.fault import Fault

_JSON, _ENVELOPE = "worker/messages/json_value.py", "worker/messages/envelope.py"
_SIGNATURE, _TOKENS = "worker/messages/signature.py", "worker/auth/access_tokens.py"
_SIGNATURES, _PUBLIC_KEYS = "worker/auth/signatures.py", "worker/auth/public_keys.py"
_BODY = "worker/messages/body.py"

FAULTS = (
    Fault(
        "m13-depth-off-by-one",
        "a body of exactly the deepest level is read",
        _JSON,
        "            if depth > limit:\n",
        "            if depth >= limit:\n",
        ("tests/unit/test_json_value.py",),
    ),
    Fault(
        "m14-duplicates-in-nested",
        "names that come twice are found in nested objects, too",
        _JSON,
        "count += _keys_of(item, max_depth - 1)",
        "count += max(0, _keys_of(item, max_depth - 1))",
        ("tests/unit/test_json_value.py", "tests/unit/test_fast_readings.py"),
    ),
    Fault(
        "bearer-by-case",
        "the scheme of an authorization header matches without regard to case",
        _ENVELOPE,
        'bearer[ \\t]+(\\S+)[ \\t]*", re.IGNORECASE)',
        'bearer[ \\t]+(\\S+)[ \\t]*")',
        ("tests/unit/test_envelope.py",),
    ),
    Fault(
        "two-authorizations",
        "a record with two authorization headers is unreadable",
        _ENVELOPE,
        'if len(headers.get("authorization", ())) > 1:',
        'if len(headers.get("authorization", ())) > 2:',
        ("tests/unit/test_envelope.py",),
    ),
    Fault(
        "value-limit",
        "a value of exactly the limit is read, and a larger one is not",
        _ENVELOPE,
        "if len(value) > limits.value_bytes:",
        "if len(value) >= limits.value_bytes:",
        ("tests/unit/test_envelope.py",),
    ),
    Fault(
        "signature-of-another-value",
        "a signature is good for the value that was signed alone",
        _SIGNATURE,
        'if claims.get("sha256") != digest_text(record.value):',
        'if "sha256" not in claims:',
        ("tests/unit/test_signed_commands.py",),
    ),
    Fault(
        "signature-for-another-topic",
        "a signature is good for its audience alone",
        _SIGNATURE,
        "if audience != record.audience and not",
        "if audience is None and not",
        ("tests/unit/test_signed_commands.py",),
    ),
    Fault(
        "critical-claims",
        "a signature with critical extensions is refused (RFC 7515)",
        _SIGNATURE,
        'header.get("typ") != TYPE or "crit" in header',
        'header.get("typ") != TYPE',
        ("tests/unit/test_signed_commands.py",),
    ),
    Fault(
        "algorithm-of-the-header",
        "the key says which algorithms fit, and not the header",
        _SIGNATURES,
        "signature.algorithm not in key.algorithms or",
        "signature.algorithm is None or",
        ("tests/unit/test_signed_commands.py", "tests/unit/test_proofs.py"),
    ),
    Fault(
        "proof-under-an-old-key",
        "a proof counts under the key that it was made with alone",
        _SIGNATURES,
        "if self._proofs.get(signature.digest) is key:",
        "if signature.digest in self._proofs:",
        ("tests/unit/test_proofs.py",),
    ),
    Fault(
        "identity-token",
        "a token of another type is no access token (RFC 9068)",
        _TOKENS,
        "if header is None or not (self._allow_any_type or _is_access_token(header)):",
        "if header is None:",
        ("tests/unit/test_oauth_tokens.py",),
    ),
    Fault(
        "token-after-its-key",
        "a token is good only as long as its key is published",
        _TOKENS,
        "if known is None or known.key is not key:",
        "if known is None:",
        ("tests/unit/test_oauth_tokens.py",),
    ),
    Fault(
        "keys-of-small-order",
        "a signing key is a point of prime order, under which nobody else can sign",
        _PUBLIC_KEYS,
        "if not crypto_core_ed25519_is_valid_point(x):",
        "if len(x) != 32:",
        ("tests/unit/test_catalogue_signing_keys.py",),
    ),
    Fault(
        "stored-key-stops-the-lane",
        "a stored key that today's check refuses verifies nothing, and raises nothing",
        _SIGNATURES,
        "    except NotAKey:",
        "    except ZeroDivisionError:",
        ("tests/unit/test_proofs.py",),
    ),
    Fault(
        "field-errors-in-another-order",
        "field errors stand in the order of the fields, which shows in the bytes of the result",
        _BODY,
        "    _check_fields(errors, body, _BODY_FIELDS)\n"
        '    identity, parties = body.get("gs1"), body.get("parties", {})\n',
        '    identity, parties = body.get("gs1"), body.get("parties", {})\n'
        "    if isinstance(parties, dict):\n"
        "        _check_parties(errors, parties)\n"
        "    _check_fields(errors, body, _BODY_FIELDS)\n",
        ("tests/unit/test_body.py",),
    ),
    Fault(
        "places-without-a-bound",
        "a place that a stranger wrote has numbers that Postgres can hold",
        "worker/domain/places.py",
        "[1-9][0-9]{0,17}",
        "[1-9][0-9]*",
        ("tests/unit/test_places.py",),
    ),
    Fault(
        "rule-4-told-as-rule-6",
        "a published answer tells a malformed idempotency key from an invalid body",
        "worker/tools/common/answers.py",
        "set(field_errors(body)) != {KEY_FIELD}",
        "set(field_errors(body)) == {KEY_FIELD}",
        ("tests/unit/test_outcome_code.py", "tests/unit/test_why.py"),
    ),
)
