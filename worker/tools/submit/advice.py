"""Advice about refusals: what credentials lack, and how to send rows again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.domain.outcomes import CredentialsProblem, Forbidden
from worker.messages.rules import REFUSALS, Kind
from worker.tools.common.why import SIGNATURE_SENTENCES

DENIED = frozenset({"401", "403"})
"""Statuses of answers that refuse the credentials."""
CONFIRM_OVERAGE = "--confirm-overage"

_BY_REASON = {
    **{
        reason: f"{sentence} Compare the public half of --signing-key with the catalogue."
        for reason, sentence in SIGNATURE_SENTENCES.items()
    },
    CredentialsProblem.WRONG_CHANNEL: "The company may not use this channel. Choose its own with --channel.",
    CredentialsProblem.KEYS_UNAVAILABLE: "The worker cannot reach the server that has the token's key. Try later.",
}
_UNKNOWN = (
    "The worker does not know this API key or access token, or it was revoked or has expired. "
    "Give another one with --credentials-file or PASSPORT_API_KEY."
)


def about_credentials(error: str) -> str:
    """Say what to do about answers with this error, which refuse the credentials."""
    sentence, _, detail = error.partition(": ")
    if sentence == REFUSALS[Forbidden].error:
        return f"The access token lacks the scope {detail}. Ask for a token that has it."
    return _BY_REASON.get(detail, _UNKNOWN)


def retry_commands(
    answers: Path, outcomes: Mapping[str, int], options: Sequence[str], *, confirms_overage: bool = False
) -> list[str]:
    """Commands that send refused rows again. A conflict would stay one, so none sends conflicts.

    If there are two, each has its own answers file. `confirms_overage` says whether the rows have confirmed overage.
    """
    base = ("passport-worker", "submit", str(answers), *options, "--only")
    confirm = [CONFIRM_OVERAGE] if confirms_overage else []
    retries = {Kind.OVERAGE_REQUIRED.label: [CONFIRM_OVERAGE], Kind.REJECTED.label: confirm}
    retries = {outcome: more for outcome, more in retries.items() if outcomes.get(outcome)}
    if len(retries) > 1:
        for outcome, more in retries.items():
            more += ["--answers", f"{answers}.{outcome}{answers.suffix}"]
    return [shlex.join((*base, outcome, *more)) for outcome, more in retries.items()]
