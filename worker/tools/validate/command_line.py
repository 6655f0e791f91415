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
from worker.tools.validate.validation import summary, verdicts

app = App(name="validate", help_format="plaintext")

_FILE = Parameter(help="NDJSON, or a single JSON document; - for stdin.", allow_leading_hyphen=True)


@app.default
def validate(  # noqa: PLR0913 - its options
    file: Annotated[Path, _FILE],
    /,
    *,
    signing_key: Annotated[
        Path | None, Parameter(help="A PEM file: print the header jws-signature of each good command, for an hour.")
    ] = None,
    signature: Annotated[
        str | None, Parameter(help="A jws-signature: say what the worker would say of it, with these commands.")
    ] = None,
    idempotency_key: Annotated[str | None, Parameter(help="The header beside a signature.")] = None,
    catalogue: Annotated[
        Path | None, Parameter(help="A catalogue file: whether a key of it has signed, and was valid.")
    ] = None,
    at: Annotated[
        str | None, Parameter(help="When --signature is judged, such as 2026-12-31T23:00:00Z; else now.")
    ] = None,
) -> None:
    """Say what the worker would say of each command in a file, without credentials, Kafka and Postgres.

    Values are plain commands or structured CloudEvents. Exit 1 if any is bad. Signatures are made and checked for
    PASSPORT_SIGNATURE_AUDIENCE, or the command topic.
    """
    settings = settings_with_warnings()
    limits, audience = settings.limits, settings.audience
    signer = signer_of(signing_key, audience)
    check = check_of(signature, audience, idempotency_key, catalogue, None if at is None else timestamp("--at", at))
    good = bad = 0
    try:
        with _opened(file) as stream:
            for verdict in with_signatures(verdicts(stream, limits), check, limits):
                for problem in verdict.problems:
                    say(f"line {verdict.line}: {problem}")
                for warning in verdict.warnings:
                    say(f"line {verdict.line}: warning: {warning}")
                if signer is not None and not verdict.problems:
                    say(f"line {verdict.line}: {signed_header(signer, verdict.value, idempotency_key, limits)}")
                bad += bool(verdict.problems)
                good += not verdict.problems
        say(summary(good, bad, not_checked(check)))
        if good + bad == 0:
            warn(f"there was no command in {file}")
        sys.stdout.flush()
    except BrokenPipeError:
        leave_closed_pipe(1)
    except KeyboardInterrupt:  # no verdict on what was not read
        raise Failed("interrupted") from None
    sys.exit(1 if bad else 0)


def _opened(file: Path) -> BinaryIO:
    try:
        return sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror}") from error
