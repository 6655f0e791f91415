"""Signatures in `validate`: signs values, and checks a signature as the worker would."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from worker.auth.signatures import Verifier
from worker.domain.catalogue import Company, Plan, SigningKey
from worker.domain.command import Signature
from worker.domain.credentials import authenticate
from worker.domain.facts import Facts
from worker.domain.gs1 import UNSAFE_TEXT
from worker.domain.outcomes import Unauthorized
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Header
from worker.messages.signature import HEADER
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage
from worker.tools.common.catalogue.facts import milliseconds, signing_keys_of
from worker.tools.common.catalogue.file import CatalogueError, read_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.signer import NotASigningKey, Signer
from worker.tools.common.why import CREDENTIALS_SENTENCES
from worker.tools.validate.problems import CLOUD_EVENT, is_cloud_event
from worker.tools.validate.validation import NOT_CHECKED, CheckedValue

_ANY_PLAN = Plan("", None, None, None)


@dataclass(frozen=True, slots=True)
class Check:
    """A signature to check, with its audience and channel, the idempotency key sent with it, and the time of the check.

    `catalogue` has the registered keys. Without it only the claims are checked, not the signature itself.
    """

    signature: str
    audience: str
    key: str | None
    catalogue: Catalogue | None
    at_ms: int
    channel: str = ""

    def problem(self, value: bytes, limits: Limits) -> str | None:
        """Why the worker would refuse this signature on a record with this value; None if it would not."""
        headers: list[Header] = [(HEADER, self.signature.encode("utf-8", "surrogateescape"))]
        if self.key is not None:
            headers.append(("idempotency-key", self.key.encode("utf-8", "surrogateescape")))
        if is_cloud_event(value, limits):
            headers.append(CLOUD_EVENT)
        record = Record("", 0, 0, self.at_ms, None, value, headers)
        command = open_envelope(record, limits, self.audience, self.channel).command
        outcome = authenticate(command, self._facts(command.credentials))
        if not isinstance(outcome, Unauthorized):
            return None
        if outcome.reason is None:  # the worker gives no reason for a closed company
            return "The worker answers 401: the catalogue says that the company is closed."
        misfit = command.credentials.misfit if isinstance(command.credentials, Signature) else None
        detail = f" The claim {misfit} does not fit." if misfit and outcome.reason.endswith("mismatch") else ""
        return f"{outcome.reason}: {CREDENTIALS_SENTENCES[outcome.reason]}{detail}"

    def _facts(self, credentials: object) -> Facts:
        """The facts of a worker with this catalogue. Without a catalogue, any key counts as known and proven."""
        facts = Facts()
        if self.catalogue is not None:
            facts.signing_keys = signing_keys_of(self.catalogue)
            facts.companies = {
                row.id: Company(
                    row.id,
                    _ANY_PLAN,
                    None,
                    channels=None if row.channels is None else frozenset(row.channels),
                    closed_ms=milliseconds(row.closed_at),
                )
                for row in self.catalogue.companies
            }
            if isinstance(credentials, Signature):
                Verifier().prove(credentials, self.at_ms, facts)
        elif isinstance(credentials, Signature):
            facts.companies[""] = Company("", _ANY_PLAN, None)
            facts.signing_keys[credentials.key_id] = SigningKey("", "", None, None)
            facts.proven.add(credentials.digest)
        return facts


def check_of(
    signature: str | None, settings: Settings, key: str | None, catalogue: Path | None, at: datetime | None
) -> Check | None:
    """The check that these options ask for; None without a signature. Raises `BadUsage`."""
    if signature is None:
        if catalogue is not None or at is not None:
            raise BadUsage(f"{'--catalogue' if catalogue else '--at'}: expected --signature with it")
        return None
    try:
        contents = None if catalogue is None else read_catalogue(catalogue)
    except CatalogueError as error:
        raise BadUsage("\n  ".join(["--catalogue:", *error.problems])) from error
    at_ms = milliseconds(at)
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return Check(signature, settings.audience, key, contents, at_ms, settings.channel)


def signer_of(file: Path | None, audience: str) -> Signer | None:
    """The signer with the key in a file; None without a file. Raises `BadUsage` for an unusable key."""
    if file is None:
        return None
    try:
        return Signer.from_pem(file.read_bytes(), audience)
    except NotASigningKey as error:
        raise BadUsage(f"--signing-key: {error}, in {file}") from error
    except OSError as error:
        raise BadUsage(f"--signing-key: cannot read {file}: {error.strerror}") from error


def with_signatures(values: Iterable[CheckedValue], check: Check | None, limits: Limits) -> Iterator[CheckedValue]:
    """Add problems with the signature to the problems of each value."""
    for value in values:
        problem = check and check.problem(value.value, limits)
        yield value if problem is None else replace(value, problems=(*value.problems, f"{HEADER}: {problem}"))


def signed_header(signer: Signer, value: bytes, key: str | None, limits: Limits) -> str:
    """The signature header for a record with this value that is sent now, as `name: value`. Raises `BadUsage`."""
    if key is not None and UNSAFE_TEXT.search(key):
        raise BadUsage("--idempotency-key: expected UTF-8 without control characters: no signature covers other keys")
    content_type = CLOUD_EVENT[1] if is_cloud_event(value, limits) else None
    ((name, signature),) = signer.headers(value, key, content_type, time.time())
    return f"{name}: {(signature or b'').decode('ascii')}"


def not_checked(check: Check | None) -> str:
    """The sentence about parts that `validate` does not check."""
    if check is None:
        return NOT_CHECKED
    key = "" if check.catalogue is not None else "the key of the signature (--catalogue), "
    return f"Not checked: {key}duplicates, and what depends on the company's data."
