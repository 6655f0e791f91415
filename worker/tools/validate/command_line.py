"""`passport-worker validate`."""

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import App, Parameter

from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import leave_closed_pipe, say
from worker.tools.cli.running import settings_with_warnings, warn
from worker.tools.validate.signatures import check_of, not_checked, signed_header, signer_of, with_signatures
from worker.tools.validate.validation import checked_values, summary

app = App(name="validate", help_format="plaintext")

_FILE = Parameter(help="NDJSON, or one JSON document; - for stdin.", allow_leading_hyphen=True)


@app.default
def validate(  # noqa: PLR0913 - its options
    file: Annotated[Path, _FILE],
    /,
    *,
    signing_key: Annotated[
        Path | None,
        Parameter(help="A PEM file: print the header jws-signature of each good command, valid for an hour."),
    ] = None,
    signature: Annotated[str | None, Parameter(help="A jws-signature to check with these commands.")] = None,
    idempotency_key: Annotated[str | None, Parameter(help="The idempotency key beside a signature.")] = None,
    catalogue: Annotated[Path | None, Parameter(help="A catalogue file with the keys that may have signed.")] = None,
    at: Annotated[
        str | None, Parameter(help="Time at which --signature is checked, such as 2026-12-31T23:00:00Z. Default: now.")
    ] = None,
) -> None:
    """Check each command in a file as the worker would, without credentials, Kafka and Postgres.

    Values are plain commands or structured CloudEvents. Exit 1 if any is bad. Signatures are for
    PASSPORT_SIGNATURE_AUDIENCE, else for the command topic.
    """
    settings = settings_with_warnings()
    limits, audience = settings.limits, settings.audience
    signer = signer_of(signing_key, audience)
    check = check_of(signature, audience, idempotency_key, catalogue, None if at is None else timestamp("--at", at))
    good = bad = 0
    try:
        with _opened(file) as stream:
            for checked in with_signatures(checked_values(stream, limits), check, limits):
                for problem in checked.problems:
                    say(f"line {checked.line}: {problem}")
                for warning in checked.warnings:
                    say(f"line {checked.line}: warning: {warning}")
                if signer is not None and not checked.problems:
                    say(f"line {checked.line}: {signed_header(signer, checked.value, idempotency_key, limits)}")
                bad += bool(checked.problems)
                good += not checked.problems
        say(summary(good, bad, not_checked(check)))
        if good + bad == 0:
            warn(f"found no commands in {file}")
        sys.stdout.flush()
    except BrokenPipeError:
        leave_closed_pipe(1)
    except KeyboardInterrupt:  # the rest was not checked
        raise Failed("interrupted") from None
    sys.exit(1 if bad else 0)


def _opened(file: Path) -> BinaryIO:
    try:
        return sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror}") from error
