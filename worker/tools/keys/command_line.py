"""`passport-worker keys`: API keys, and private keys that sign commands."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

from cyclopts import App, Parameter

from worker.domain.gs1 import UNSAFE_TEXT
from worker.messages.hints import printable
from worker.tools.cli.asking import NOTHING_DONE, ActOptions, ask, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import duration, timestamp
from worker.tools.cli.output import AsJson, Page, Table, copyable, show, status, tally
from worker.tools.cli.running import warn
from worker.tools.cli.streams import on_lost_output
from worker.tools.common.catalogue.file import without_api_keys
from worker.tools.common.catalogue.rows import jwk_of
from worker.tools.common.signer import Signer, generate_pem
from worker.tools.keys.keys import catalogue_line, create, list_all, revoke, rotate
from worker.tools.keys.report import (
    KeyReport,
    KeysChangeReport,
    KeysCreateReport,
    KeysListReport,
    KeysRevokeReport,
    KeysRotateReport,
)

app = App(
    name="keys",
    help="Keys of companies. An API key is shown once; only its SHA-256 is stored, and identifies the key here. "
    "`generate` makes a private key, which signs commands in place of an API key.",
)

_HASH_PREFIX = Parameter(name="HASHPREFIX", help="The first digits of the key's SHA-256, at least 6 (`keys list`).")
_PREFIX = re.compile(r"[0-9a-fA-F]{6,64}")
_DIGITS = 16
"""Digits of a hash that a terminal shows. They are enough for the verbs."""
_MOST_ROWS = 1_000
"""Rows shown to people; JSON has all of them."""

Company = Annotated[str, Parameter(help="Id or name of a company.")]
Label = Annotated[str, Parameter(help="A note for people, such as where the key is used.")]
HashPrefix = Annotated[str, _HASH_PREFIX]
SomeChange = TypeVar("SomeChange", bound=KeysChangeReport)


@app.command(
    name="create",
    help_epilogue=examples(
        'keys create --company "EuroBat GmbH" --label mes-2',
        'keys create --company "EuroBat GmbH" --label b --execute --reason new',
    ),
)
def keys_create(
    *,
    company: Company,
    label: Label,
    acting: ActOptions = ActOptions(),
    as_json: AsJson = False,
) -> NoReturn:
    """Create a key for a company, and print it. It is valid at once, and never shown again.

    The second line is the entry for the company's `apiKeys` in your catalogue file. Without --execute it only says
    what it would do.
    """
    named, author = _label(label), acting.author_if_executed()
    report = ask(lambda servers: create(servers, company, named, author))
    _show_change(report, as_json=as_json, draw=_draw_new)


@app.command(
    name="generate",
    help_epilogue=examples("keys generate mes-1.pem --label mes-1", "keys generate mes-1.pem --algorithm ES256"),
)
def keys_generate(
    file: Annotated[Path, Parameter(name="FILE", help="A new file for the private key.")],
    /,
    *,
    algorithm: Annotated[Literal["EdDSA", "ES256"], Parameter(help="EdDSA: Ed25519. ES256: P-256.")] = "EdDSA",
    label: Label = "",
) -> None:
    """Make a private key that signs commands, in a file that only you can read, and print its catalogue entry.

    The entry has the public key, for the company's `signingKeys`. This needs no server: run it where commands are
    signed, and send only the entry to the operators.
    """
    named = _label(label) if label else ""
    pem = generate_pem(algorithm)
    try:
        # With a later `chmod`, others could read the key for a moment. O_EXCL never overwrites an older key.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(pem)
    except FileExistsError:
        raise BadUsage(f"{file} already exists. Choose another name, or delete it first.") from None
    except OSError as error:
        raise BadUsage(f"cannot write {file}: {error.strerror}") from error
    jwk = Signer.from_pem(pem, "").jwk
    with on_lost_output(f"{file} has a private key, but its line was not printed. Delete it, and run this again."):
        print(json.dumps({"jwk": jwk_of(jwk.key_id, jwk.members), "label": named}))
    print(
        f"{file} has the private key. The line is for the company's signingKeys in the catalogue file.", file=sys.stderr
    )


@app.command(
    name="list",
    help_epilogue=examples(
        'keys list --company "EuroBat GmbH"',
        "keys list --json | jq '.keys[] | select(.state != \"valid\")'",
    ),
)
def keys_list(*, company: Company | None = None, as_json: AsJson = False) -> NoReturn:
    """List the keys of one company or of all, ordered by company and label, with hash and revocation."""
    report = ask(lambda servers: list_all(servers, company))
    states = Counter[str](key.state for key in report.keys)
    last = tally(states) if states else "No API keys." if report.ok else None
    show(report, as_json=as_json, draw=_draw_list, last=last)


@app.command(
    name="revoke",
    help_epilogue=examples(
        "keys revoke 3f2a9c --at 2026-12-31T23:00:00Z",
        'keys revoke 3f2a9c --execute --reason "it leaked"',
    ),
)
def keys_revoke(
    prefix: HashPrefix,
    /,
    *,
    at: Annotated[
        str | None, Parameter(help="Refuse the key from this time on, such as 2026-12-31T23:00:00Z. Default: now.")
    ] = None,
    acting: ActOptions = ActOptions(),
    as_json: AsJson = False,
) -> NoReturn:
    """Revoke a key: commands appended from then on are answered with 401.

    Commands that are refused meanwhile stay refused. An earlier revocation stays. Put the printed line into your
    catalogue file: a line with `revokedAt: null` would undo the revocation. Without --execute it only says what it
    would do.
    """
    digits, since = prefix_of(prefix), None if at is None else timestamp("--at", at)
    author = acting.author_if_executed()
    report = ask(lambda servers: revoke(servers, digits, since, author))
    _show_change(report, as_json=as_json, draw=partial(_draw_revoked, is_now=since is None))


@app.command(
    name="rotate",
    help_epilogue=examples("keys rotate 3f2a9c", 'keys rotate 3f2a9c --overlap 7d --execute --reason "yearly"'),
)
def keys_rotate(
    prefix: HashPrefix,
    /,
    *,
    overlap: Annotated[str, Parameter(help="Time for which both keys are valid, such as 90m, 24h or 7d.")] = "24h",
    acting: ActOptions = ActOptions(),
    as_json: AsJson = False,
) -> NoReturn:
    """Replace a key: create a new one, valid at once, and refuse the old one after the overlap.

    The new key has the old one's company and label. Prints the new key, its line for your catalogue file, and the
    line of the old key. Without --execute it only says what it would do.
    """
    digits, both = prefix_of(prefix), duration("--overlap", overlap)
    author = acting.author_if_executed()
    report = ask(lambda servers: rotate(servers, digits, both, author))
    _show_change(report, as_json=as_json, draw=partial(_draw_rotated, overlap=overlap))


def prefix_of(text: str) -> str:
    """6 to 64 hexadecimal digits, in lower case. Raises `BadUsage`, which does not repeat them: they may be a key."""
    if _PREFIX.fullmatch(text) is None:
        raise BadUsage("HASHPREFIX: expected 6 to 64 hexadecimal digits: the start of a SHA-256 that `keys list` shows")
    return text.lower()


def _label(text: str) -> str:
    if not text.strip() or UNSAFE_TEXT.search(text):
        raise BadUsage("--label: expected text of at least one character, without control characters")
    if without_api_keys(text) != text:
        raise BadUsage("--label: expected text without an API key")
    return text


def _show_change(report: SomeChange, *, as_json: bool, draw: Callable[[Page, SomeChange], None]) -> NoReturn:
    if as_json and report.ok and not report.executed:  # a script would read a null key from the document
        warn(NOTHING_DONE)
    if not isinstance(report, KeysCreateReport) or report.created is None:
        show(report, as_json=as_json, draw=draw)
    digits = report.created.sha256[:_DIGITS]
    with on_lost_output(
        "the new key is valid, but was not printed. Revoke it, then run this again: "
        f"passport-worker keys revoke {digits} --execute --reason TEXT"
    ):
        show(report, as_json=as_json, draw=draw)


def _draw_new(page: Page, report: KeysCreateReport) -> None:
    if report.executed:
        _print_new(page, report)
    elif report.ok:
        page.print(f"Would create the API key {_shown(report.label)} for {_owner(report)}.")
        page.print(NOTHING_DONE)


def _draw_rotated(page: Page, report: KeysRotateReport, *, overlap: str) -> None:
    if report.executed:
        _print_new(page, report)
        _print_revoked(page, report.revoked)
    elif report.revoked is not None:
        page.print(f"Would create another API key {_shown(report.label)} for {_owner(report)},")
        page.print(f"and refuse the key {report.revoked.sha256} {overlap} later.")
        page.print(NOTHING_DONE)


def _draw_revoked(page: Page, report: KeysRevokeReport, *, is_now: bool) -> None:
    for warning in report.warnings:
        warn(printable(warning))
    if report.executed:
        _print_revoked(page, report.revoked)
    elif report.ok and (key := report.revoked) is not None:
        if not report.changed:
            page.print(f"The API key {key.sha256} is refused from {_since(key)} on: nothing would change.")
            return
        page.print(f"Would refuse the API key {_shown(key.label)} of {_owner(key)},")
        since = "now" if is_now else _since(key)
        page.print(f"{key.sha256}, from {since} on. Commands that are refused meanwhile stay refused.")
        page.print(NOTHING_DONE)


def _owner(report: KeysCreateReport | KeyReport) -> str:
    return printable(f"{report.name} ({report.company})")


def _shown(label: str | None) -> str:
    return f'"{printable(label or "")}"'


def _since(key: KeyReport) -> str:
    return str(catalogue_line(key).get("revokedAt"))


def _print_new(page: Page, report: KeysCreateReport) -> None:
    """Print only the key and its entry on stdout, so that they can be copied; remarks go to stderr."""
    page.print(copyable(report.key or ""))
    page.print(copyable(json.dumps(report.line)))
    print("The key is not stored, and is never shown again. The line is for your catalogue file.", file=sys.stderr)


def _print_revoked(page: Page, key: KeyReport | None) -> None:
    """Print the entry of a key that was revoked; the remark goes to stderr."""
    if key is not None:
        page.print(copyable(json.dumps(catalogue_line(key))))
        print(f"Refused from {_since(key)} on. The line is for your catalogue file.", file=sys.stderr)


def _draw_list(page: Page, report: KeysListReport) -> None:
    # A whole hash is as wide as a terminal, and its first digits identify the key.
    hashes, digits = ("first digits", _DIGITS) if page.is_terminal else ("sha256", None)
    columns = ("company", "name", "label", hashes, "state", "revoked at")
    rows = (
        (
            key.company,
            key.name,
            key.label,
            key.sha256[:digits],
            status(key.state),
            catalogue_line(key).get("revokedAt"),
        )
        for key in report.keys[:_MOST_ROWS]
    )
    page.print(Table(columns, rows, wraps=("name", "label"), spare=("company", "revoked at")))
    if (others := len(report.keys) - _MOST_ROWS) > 0:
        page.print(f"and {others} more; --json has all of them, --company those of one company")
