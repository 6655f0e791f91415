"""Rule 2: finds the company that sent a command, by credentials that are valid at the append time."""

from collections.abc import Mapping

from worker.domain.catalogue import Company
from worker.domain.command import AccessToken, ApiKey, Command, NoCredentials, Signature
from worker.domain.facts import Facts
from worker.domain.outcomes import CredentialsProblem, SignatureProblem, Unauthorized
from worker.domain.timestamps import DAY_MS

# As long as an idempotency key stays bound. If a signature lived longer, anybody could publish a copy of its command
# after the binding has ended, and create a second passport.
LONGEST_LIFE_MS = DAY_MS

_UNKNOWN = Unauthorized()
_WRONG_CHANNEL = Unauthorized(CredentialsProblem.WRONG_CHANNEL)
_REASONS: Mapping[NoCredentials, SignatureProblem | CredentialsProblem] = {
    NoCredentials.MALFORMED_SIGNATURE: SignatureProblem.MALFORMED,
    NoCredentials.KEYS_UNAVAILABLE: CredentialsProblem.KEYS_UNAVAILABLE,
}


def authenticate(command: Command, facts: Facts) -> Company | Unauthorized:
    """The company that the credentials belong to, or a refusal. A signature needs its digest in `facts.proven`."""
    credentials, appended_ms = command.credentials, command.source.appended_ms
    if isinstance(credentials, Signature):
        problem = problem_before_proof(credentials, appended_ms, facts)
        if problem is None and credentials.digest not in facts.proven:
            problem = SignatureProblem.WRONG
        if problem is not None:
            return Unauthorized(problem)
        signer = facts.companies[facts.signing_keys[credentials.key_id].company_id]
        return _refusal(signer, command) or signer
    company = _bearer(credentials, appended_ms, facts)
    if company is None:
        reason = _REASONS.get(credentials) if isinstance(credentials, NoCredentials) else None
        return Unauthorized(reason) if reason else _UNKNOWN
    if (refusal := _refusal(company, command)) is not None:
        return refusal
    if company.signatures_required_ms is not None and appended_ms >= company.signatures_required_ms:
        return Unauthorized(SignatureProblem.REQUIRED)
    return company


def _refusal(company: Company, command: Command) -> Unauthorized | None:
    """Why a company may not send this command, whatever its credentials."""
    if company.closed_ms is not None and command.source.appended_ms >= company.closed_ms:
        # Without a reason, so that a closed company looks like any unknown sender.
        return _UNKNOWN
    return None if company.channels is None or command.channel in company.channels else _WRONG_CHANNEL


def problem_before_proof(signature: Signature, appended_ms: int, facts: Facts) -> SignatureProblem | None:
    """Why a signature is refused without being verified; None if it has to be verified."""
    # These checks are cheap. A forger must not make workers spend time on cryptography.
    key = facts.signing_keys.get(signature.key_id)
    if key is None:
        return SignatureProblem.KEY_UNKNOWN
    if (key.not_before_ms is not None and appended_ms < key.not_before_ms) or (
        key.revoked_ms is not None and appended_ms >= key.revoked_ms
    ):
        return SignatureProblem.KEY_NOT_VALID
    if signature.misfit is not None:
        return SignatureProblem.MISMATCH
    if not signature.not_before_ms <= appended_ms < signature.expires_ms:
        return SignatureProblem.EXPIRED
    if signature.expires_ms > appended_ms + LONGEST_LIFE_MS:
        return SignatureProblem.TOO_LONG_LIVED
    return None


def _bearer(credentials: ApiKey | AccessToken | NoCredentials, appended_ms: int, facts: Facts) -> Company | None:
    if isinstance(credentials, ApiKey):
        grant = facts.api_keys.get(credentials.digest)
        if grant is None or (grant.revoked_ms is not None and appended_ms >= grant.revoked_ms):
            return None
        return facts.companies.get(grant.company_id)
    if isinstance(credentials, AccessToken):
        if not credentials.not_before * 1000 <= appended_ms < credentials.expires_at * 1000:
            return None
        return facts.companies.get(credentials.company_id)
    return None
