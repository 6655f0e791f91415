"""`passport-worker keys`: API keys, and private keys that sign commands."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from worker.domain.gs1 import UNSAFE_TEXT
from worker.tools.cli.asking import AsJson, AuthorOptions, ask, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import company_id, duration, timestamp
from worker.tools.cli.output import show, table
from worker.tools.common.catalogue.file import without_api_keys
from worker.tools.common.catalogue.rows import jwk_of
from worker.tools.common.signer import Signer, generate_pem
from worker.tools.keys.keys import BadPrefix, catalogue_line, create, list_all, prefix_of, revoke, rotate
from worker.tools.keys.report import KeyReport, KeysCreateReport, KeysListReport

app = App(
    name="keys",
    help="Keys of companies. An API key is shown once; only its SHA-256 is stored, and names it here. `generate` makes "
    "a private key, which signs commands in place of an API key.",
    help_format="plaintext",
)

_HASH_PREFIX = Parameter(name="HASHPREFIX", help="The first digits of the key's SHA-256, at least 6 (`keys list`).")
_DIGITS = 16
_MOST_ROWS = 1_000
"""Rows shown to people; JSON has all of them."""

Company = Annotated[str, Parameter(help="Id of a company, 24 hexadecimal digits.")]
Label = Annotated[str, Parameter(help="A note for people, such as where the key is used.")]
HashPrefix = Annotated[str, _HASH_PREFIX]


@app.command(
    name="create",
    help_epilogue=examples(
        "keys create --company 6650a0b1c2d3e4f5a6b7c8d9 --label mes-2",
        "keys create --company $C --label mes-2 --json | jq -r .key",
    ),
)
def keys_create(
    *,
    company: Company,
    label: Label,
    acting: AuthorOptions = AuthorOptions(),  # noqa: B008 - frozen
    as_json: AsJson = False,
) -> NoReturn:
    """Create a key for a company, and print it. It is valid at once, and never shown again.

    The second line is the entry for the company's `apiKeys` in your catalogue file.
    """
    owner, named, author = company_id(company), _label(label), acting.author()
    report = ask(lambda servers: create(servers, owner, named, author))
    show(report, as_json=as_json, draw=lambda console: _draw_new(console, report))


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
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(pem)
    except FileExistsError:
        raise BadUsage(f"{file} already exists. Choose another name, or delete it first.") from None
    except OSError as error:
        raise BadUsage(f"cannot write {file}: {error.strerror}") from error
    jwk = Signer.from_pem(pem, "").jwk
    print(json.dumps({"jwk": jwk_of(jwk.key_id, jwk.members), "label": named}))
    print(
        f"{file} has the private key. The line is for the company's signingKeys in the catalogue file.", file=sys.stderr
    )


@app.command(
    name="list",
    help_epilogue=examples(
        "keys list --company 6650a0b1c2d3e4f5a6b7c8d9",
        "keys list --json | jq '.keys[] | select(.state != \"valid\")'",
    ),
)
def keys_list(*, company: Company | None = None, as_json: AsJson = False) -> NoReturn:
    """List the keys of one company or of all, by company and label, with hash and revocation."""
    owner = None if company is None else company_id(company)
    report = ask(lambda servers: list_all(servers, owner))
    show(report, as_json=as_json, draw=lambda console: _draw_list(console, report))


@app.command(
    name="revoke",
    help_epilogue=examples(
        "keys revoke 3f2a9c --reason 'found in a public repository'",
        "keys revoke 3f2a9c --at 2026-12-31T23:00:00Z",
    ),
)
def keys_revoke(
    prefix: HashPrefix,
    /,
    *,
    at: Annotated[
        str | None, Parameter(help="Refuse it from this time on, such as 2026-12-31T23:00:00Z. Default: now.")
    ] = None,
    acting: AuthorOptions = AuthorOptions(),  # noqa: B008 - frozen
    as_json: AsJson = False,
) -> NoReturn:
    """Revoke a key: commands appended from then on are answered with 401.

    An earlier revocation stays. Put the printed line into your catalogue file: a line with `revokedAt: null` for this
    key would take the revocation back.
    """
    digits, since = _prefix(prefix), None if at is None else timestamp("--at", at)
    author = acting.author()
    report = ask(lambda servers: revoke(servers, digits, since, author))
    show(report, as_json=as_json, draw=lambda console: _draw_revoked(console, report.revoked))


@app.command(
    name="rotate",
    help_epilogue=examples("keys rotate 3f2a9c", "keys rotate 3f2a9c --overlap 7d --reason 'yearly'"),
)
def keys_rotate(
    prefix: HashPrefix,
    /,
    *,
    overlap: Annotated[str, Parameter(help="Time for which both keys are valid, such as 90m, 24h or 7d.")] = "24h",
    acting: AuthorOptions = AuthorOptions(),  # noqa: B008 - frozen
    as_json: AsJson = False,
) -> NoReturn:
    """Create a key in place of another one, which is refused after the overlap. Both take effect at once.

    The new key has the old one's company and label. It prints the new key, its line for your catalogue file, and the
    line of the old key.
    """
    digits, both = _prefix(prefix), duration("--overlap", overlap)
    author = acting.author()
    report = ask(lambda servers: rotate(servers, digits, both, author))

    def draw(console: Console) -> None:
        _draw_new(console, report)
        _draw_revoked(console, report.revoked)

    show(report, as_json=as_json, draw=draw)


def _prefix(text: str) -> str:
    try:
        return prefix_of(text)
    except BadPrefix as error:
        raise BadUsage(f"HASHPREFIX: {error}") from error


def _label(text: str) -> str:
    if not text.strip() or UNSAFE_TEXT.search(text):
        raise BadUsage("--label: expected text of at least one character, without control characters")
    if without_api_keys(text) != text:
        raise BadUsage("--label: expected text without an API key")
    return text


def _draw_new(console: Console, report: KeysCreateReport) -> None:
    """Print the key and its entry alone on stdout, so that they can be copied; remarks go to stderr."""
    if report.key is None or report.line is None:
        return
    _print_line(console, report.key)
    _print_line(console, json.dumps(report.line))
    print("The key is not stored, and is never shown again. The line is for your catalogue file.", file=sys.stderr)


def _draw_revoked(console: Console, key: KeyReport | None) -> None:
    if key is None:
        return
    line = catalogue_line(key)
    _print_line(console, json.dumps(line))
    if "revokedAt" in line:
        print(f"Refused from {line['revokedAt']} on. The line is for your catalogue file.", file=sys.stderr)


def _print_line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def _draw_list(console: Console, report: KeysListReport) -> None:
    columns = ("company", "label", "sha256", "state", "revoked at")
    rows = (
        (key.company, key.label, f"{key.sha256[:_DIGITS]}…", key.state, catalogue_line(key).get("revokedAt"))
        for key in report.keys[:_MOST_ROWS]
    )
    console.print(table(columns, rows))
    if (others := len(report.keys) - _MOST_ROWS) > 0:
        console.print(f"and {others} more; --json has all of them, --company those of one company")
