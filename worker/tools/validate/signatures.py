"""What `validate` does about signatures: it signs values, and says of a signature what the worker would say."""

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
from worker.messages.signature import HEADER, STRUCTURED
from worker.tools.cli.errors import BadUsage
from worker.tools.common.catalogue.facts import milliseconds, signing_keys_of
from worker.tools.common.catalogue.file import CatalogueError, read_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.signer import NotASigningKey, Signer
from worker.tools.common.why import SIGNATURE_SENTENCES
from worker.tools.validate.problems import is_cloud_event
from worker.tools.validate.validation import NOT_CHECKED, Verdict

_ANY_PLAN = Plan("", None, None, None)


@dataclass(frozen=True, slots=True)
class Check:
    """A signature, whom it has to be for, the idempotency key beside it, and when it is judged.

    `catalogue` has the keys that are registered; without it the signature itself is not verified.
    """

    signature: str
    audience: str
    key: str | None
    catalogue: Catalogue | None
    at_ms: int

    def problem(self, value: bytes, content_type: bytes | None, limits: Limits) -> str | None:
        """Why the worker would refuse a record of this value for its signature; None where it would not."""
        headers: list[Header] = [(HEADER, self.signature.encode("utf-8", "surrogateescape"))]
        headers += [] if self.key is None else [("idempotency-key", self.key.encode("utf-8", "surrogateescape"))]
        headers += [] if content_type is None else [("content-type", content_type)]
        command = open_envelope(Record("", 0, 0, self.at_ms, None, value, headers), limits, self.audience).command
        found = authenticate(command, self._facts(command.credentials))
        if not isinstance(found, Unauthorized) or found.reason is None:
            return None
        misfit = command.credentials.misfit if isinstance(command.credentials, Signature) else None
        detail = f" It is {misfit} that does not fit." if misfit and found.reason.endswith("mismatch") else ""
        return f"{found.reason}: {SIGNATURE_SENTENCES[found.reason]}{detail}"

    def _facts(self, credentials: object) -> Facts:
        """As a worker looks them up; without a catalogue, a key that has signed all."""
        facts = Facts()
        if self.catalogue is not None:
            facts.signing_keys = signing_keys_of(self.catalogue)
            facts.companies = {one.id: Company(one.id, _ANY_PLAN, None) for one in self.catalogue.companies}
            if isinstance(credentials, Signature):
                Verifier().prove(credentials, self.at_ms, facts)
        elif isinstance(credentials, Signature):
            facts.companies[""] = Company("", _ANY_PLAN, None)
            facts.signing_keys[credentials.key_id] = SigningKey("", "", None, None)
            facts.proven.add(credentials.digest)
        return facts


def check_of(
    signature: str | None, audience: str, key: str | None, catalogue: Path | None, at: datetime | None
) -> Check | None:
    """None without a signature. Raises `BadUsage` for a catalogue that cannot be read."""
    if signature is None:
        if catalogue is not None or at is not None:
            raise BadUsage(f"{'--catalogue' if catalogue else '--at'}: expected --signature beside it")
        return None
    try:
        contents = None if catalogue is None else read_catalogue(catalogue)
    except CatalogueError as error:
        raise BadUsage("\n  ".join(["--catalogue:", *error.problems])) from error
    at_ms = milliseconds(at)
    return Check(signature, audience, key, contents, int(time.time() * 1000) if at_ms is None else at_ms)


def signer_of(file: Path | None, audience: str) -> Signer | None:
    """None without a file. Raises `BadUsage` where it has no key that can sign."""
    if file is None:
        return None
    try:
        return Signer.from_pem(file.read_bytes(), audience)
    except NotASigningKey as error:
        raise BadUsage(f"--signing-key: {error}, in {file}") from error
    except OSError as error:
        raise BadUsage(f"--signing-key: cannot read {file}: {error.strerror}") from error


def with_signatures(found: Iterable[Verdict], check: Check | None, limits: Limits) -> Iterator[Verdict]:
    """The same verdicts, with what is wrong with the signature among their problems."""
    for verdict in found:
        problem = check and check.problem(verdict.value, _content_type(verdict.value, limits), limits)
        yield verdict if problem is None else replace(verdict, problems=(*verdict.problems, f"{HEADER}: {problem}"))


def signed_header(signer: Signer, value: bytes, key: str | None, limits: Limits) -> str:
    """The header of a record of this value that is sent now, as `name: value`. Raises `BadUsage`."""
    if key is not None and UNSAFE_TEXT.search(key):
        raise BadUsage("--idempotency-key: expected UTF-8 without control characters, since no signature fits another")
    ((name, signature),) = signer.headers(value, key, _content_type(value, limits), time.time())
    return f"{name}: {(signature or b'').decode('ascii')}"


def not_checked(check: Check | None) -> str:
    """What `validate` leaves out."""
    if check is None:
        return NOT_CHECKED
    key = "" if check.catalogue is not None else "the key of the signature (--catalogue), "
    return f"Not checked: {key}duplicates, and what depends on the company's data."


def _content_type(value: bytes, limits: Limits) -> bytes | None:
    """A file has no headers: what looks like a structured CloudEvent is one."""
    return STRUCTURED.encode("ascii") if is_cloud_event(value, limits) else None
