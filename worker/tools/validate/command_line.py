"""`passport-worker validate`."""

import sys
from io import BufferedReader
from pathlib import Path
from typing import Annotated, TypeVar, cast

from cyclopts import App, Parameter

from worker.tools.cli.asking import examples
from worker.tools.cli.channels import OneChannel, settings_of_one
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import AsJson, Page
from worker.tools.cli.running import warn
from worker.tools.common.report import Problem
from worker.tools.validate.problems import looks_like_csv
from worker.tools.validate.report import MOST_LINES, LineRemark, ValidateReport
from worker.tools.validate.signatures import check_of, not_checked, signed_header, signer_of, with_signatures
from worker.tools.validate.validation import CheckedValue, checked_values, code_of, summary

app = App(
    name="validate",
    help_epilogue=examples("validate commands.ndjson", "validate command.json --signing-key mes-1.pem"),
)

_PEEKED = 4096
Remark = TypeVar("Remark")

_FILE = Parameter(help="NDJSON, or one JSON document; - for stdin.", allow_leading_hyphen=True)


@app.default
def validate(
    file: Annotated[Path, _FILE],
    /,
    *,
    signing_key: Annotated[
        Path | None,
        Parameter(help="A PEM file: print the header jws-signature of each good command, valid for an hour."),
    ] = None,
    signature: Annotated[str | None, Parameter(help="A jws-signature to check with these commands.")] = None,
    idempotency_key: Annotated[str | None, Parameter(help="The idempotency key that is sent with a signature.")] = None,
    catalogue: Annotated[Path | None, Parameter(help="A catalogue file with the signing keys of companies.")] = None,
    at: Annotated[
        str | None, Parameter(help="Time at which --signature is checked, such as 2026-12-31T23:00:00Z. Default: now.")
    ] = None,
    channel: OneChannel = None,
    as_json: AsJson = False,
) -> None:
    """Check each command in a file as the worker would, without credentials, Kafka and Postgres.

    Values are plain commands or structured CloudEvents. Exit 1 if any is bad. Signatures are for
    PASSPORT_SIGNATURE_AUDIENCE, else for the command topic of the channel.
    """
    settings = settings_of_one(channel)
    limits = settings.limits
    signer = signer_of(signing_key, settings.audience)
    check = check_of(signature, settings, idempotency_key, catalogue, None if at is None else timestamp("--at", at))
    output = _Output(as_json=as_json)
    try:
        with _opened(file) as stream:
            if looks_like_csv(stream.peek(_PEEKED), file.suffix):
                named = "FILE" if str(file) == "-" else file
                raise BadUsage(f"{file}: this looks like CSV: `passport-worker submit {named} --dry-run` checks it")
            for checked in with_signatures(checked_values(stream, limits), check, limits):
                output.add(checked)
                if signer is not None and not checked.problems:
                    output.sign(checked.line, signed_header(signer, checked.value, idempotency_key, limits))
        output.end(not_checked(check))
        if output.good + output.bad == 0:
            warn(f"found no commands in {file}")
    except KeyboardInterrupt:  # the rest was not checked
        raise Failed("interrupted") from None
    sys.exit(1 if output.bad else 0)


class _Output:
    """Prints remarks as they come, or collects them for one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self.good = self.bad = 0
        self._as_json = as_json
        self._problems, self._warnings, self._signatures = list[Problem](), list[LineRemark](), list[LineRemark]()
        self._omitted = 0

    def add(self, checked: CheckedValue) -> None:
        """Count a command, and print its problems and warnings."""
        place = f"line {checked.line}"
        for problem in checked.problems:
            self._add(self._problems, Problem(code=code_of(problem), place=place, text=problem), f"{place}: {problem}")
        for warning in checked.warnings:
            self._add(self._warnings, LineRemark(line=checked.line, text=warning), f"{place}: warning: {warning}")
        self.bad += bool(checked.problems)
        self.good += not checked.problems

    def sign(self, line: int, header: str) -> None:
        """Print the signature of a command."""
        self._add(self._signatures, LineRemark(line=line, text=header), f"line {line}: {header}")

    def end(self, left_out: str) -> None:
        """Print the counts, and what was not checked."""
        if not self._as_json:
            Page().print(summary(self.good, self.bad, left_out))
            return
        report = ValidateReport(
            problems=tuple(self._problems),
            good=self.good,
            bad=self.bad,
            warnings=tuple(self._warnings),
            signatures=tuple(self._signatures),
            omitted=self._omitted,
            not_checked=left_out,
        )
        print(report.model_dump_json(by_alias=True, indent=2))

    def _add(self, remarks: list[Remark], remark: Remark, shown: str) -> None:
        if not self._as_json:
            print(shown)
        elif len(remarks) < MOST_LINES:
            remarks.append(remark)
        else:
            self._omitted += 1


def _opened(file: Path) -> BufferedReader:
    try:
        return cast("BufferedReader", sys.stdin.buffer) if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror}") from error
