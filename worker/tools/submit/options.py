"""The options of `submit` in groups, each with a method that turns it into values."""

import getpass
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from worker.settings import Settings
from worker.tools.cli.errors import BadUsage
from worker.tools.submit.columns import Choices
from worker.tools.submit.encodings import encoding_of
from worker.tools.submit.headers import BadCredentials, Bearer, Credentials
from worker.tools.submit.map_file import Mapping, read_mapping
from worker.tools.validate.signatures import signer_of

API_KEY = "PASSPORT_API_KEY"

_ENCODING = Parameter(help="Encoding of a CSV file, such as cp1252. Default: utf-8.")
_MAP = Parameter(name="--map", help="COLUMN=PATH: this column fills this field.")
_SET = Parameter(name="--set", help="PATH=VALUE: a field with the same value in each row.")
_IGNORE = Parameter(name="--ignore", help="A column that is not a field.")
_PAD = Parameter(name="--pad-gtin", help="Restore leading zeros that a spreadsheet removed from GTINs.")
_MAP_FILE = Parameter(help="A file with these options (--write-map). Options on the command line take precedence.")
_SIGNING = Parameter(help="A PEM file with a private key (keys generate), to sign each command.")
_SECRET = Parameter(help=f"A file with an API key or an access token. Default: {API_KEY}, or else you are asked.")
_CONFIRM = Parameter(help="Accept the price of passports above the plan's quota: sets confirmOverage in each body.")
_RATE = Parameter(help="Most rows per second. Default: no limit.")
_IN_FLIGHT = Parameter(help="Most rows in flight at once; bounds memory.")
_PATIENCE = Parameter(help="Give up after this many seconds without any answer.")


@Parameter(name="*")
@dataclass(frozen=True)
class ColumnOptions:
    """How columns become fields."""

    encoding: Annotated[str | None, _ENCODING] = None
    renamed: Annotated[tuple[str, ...], _MAP] = ()
    fixed: Annotated[tuple[str, ...], _SET] = ()
    ignored: Annotated[tuple[str, ...], _IGNORE] = ()
    pad_gtin: Annotated[bool, _PAD] = False
    map_file: Annotated[Path | None, _MAP_FILE] = None
    confirm_overage: Annotated[bool, _CONFIRM] = False

    def choices(self) -> Choices:
        """The options in the form that tables take. Raises `BadUsage`."""
        # The name of a column and a value may contain an equals sign. A path has none.
        renamed = _pairs("--map", "COLUMN=PATH", (text.rpartition("=") for text in self.renamed))
        fixed = _pairs("--set", "PATH=VALUE", (text.partition("=") for text in self.fixed))
        mapping = Mapping() if self.map_file is None else read_mapping(self.map_file)
        return Choices(
            {**mapping.map, **renamed},
            {**mapping.set, **fixed},
            (*(name for name in mapping.ignore if name not in renamed), *self.ignored),
            self.pad_gtin or mapping.pad_gtin,
            self.confirm_overage,
            encoding_of(self.encoding or mapping.encoding),
        )

    def again(self) -> Iterator[str]:
        """The options for a command that reads the answers file. Not --encoding: answers are always UTF-8."""
        for name, values in (("--map", self.renamed), ("--set", self.fixed), ("--ignore", self.ignored)):
            for value in values:
                yield from (name, value)
        if self.pad_gtin:
            yield "--pad-gtin"
        if self.map_file is not None:
            yield from ("--map-file", str(self.map_file))


@Parameter(name="*")
@dataclass(frozen=True)
class CredentialsOptions:
    """Who submits."""

    signing_key: Annotated[Path | None, _SIGNING] = None
    credentials_file: Annotated[Path | None, _SECRET] = None

    def credentials(self, settings: Settings) -> Credentials:
        """A signing key, or a secret from a file, the environment or the terminal. Raises `BadUsage`."""
        if self.signing_key is not None and self.credentials_file is not None:
            raise BadUsage("--signing-key: expected without --credentials-file, since the signature decides")
        return signer_of(self.signing_key, settings.audience) or _bearer(self.credentials_file)

    def again(self) -> Iterator[str]:
        """The options as arguments of another command."""
        if self.signing_key is not None:
            yield from ("--signing-key", str(self.signing_key))
        if self.credentials_file is not None:
            yield from ("--credentials-file", str(self.credentials_file))


@Parameter(name="*")
@dataclass(frozen=True)
class Pace:
    """Limits: rows per second, rows in flight, and seconds without any answer."""

    rate: Annotated[float | None, _RATE] = None
    in_flight: Annotated[int, _IN_FLIGHT] = 5_000
    patience: Annotated[float, _PATIENCE] = 300

    def check(self) -> None:
        """Raises `BadUsage`."""
        for name, value in (("--rate", self.rate), ("--in-flight", self.in_flight), ("--patience", self.patience)):
            if value is not None and not 0 < value <= 1_000_000:
                raise BadUsage(f"{name}: expected a number above 0 and up to 1,000,000, got {value:g}")


def _pairs(option: str, expected: str, given: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, between, value in given:
        if not name or not between or not value:
            raise BadUsage(f"{option}: expected {expected}, got {name + between + value!r}")
        if name in pairs:
            raise BadUsage(f"{option}: {name} is given twice")
        pairs[name] = value
    return pairs


def _bearer(file: Path | None) -> Bearer:
    try:
        if file is not None:
            # Editors of Windows begin a file with a byte order mark, which would be a part of the secret.
            return Bearer(file.read_text(encoding="utf-8-sig"))
        if (secret := os.environ.get(API_KEY)) is not None:
            return Bearer(secret)
        if sys.stdin.isatty():
            return Bearer(getpass.getpass("API key or access token: "))
    except OSError as error:
        raise BadUsage(f"--credentials-file: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadUsage(f"--credentials-file: cannot read {file}: expected UTF-8") from error
    except EOFError:
        pass
    except BadCredentials as error:
        raise BadUsage(f"{API_KEY if file is None else file}: {error}") from error
    raise BadUsage(f"no credentials: expected --signing-key FILE, --credentials-file FILE, or {API_KEY} set")
