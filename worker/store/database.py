"""The database of the settings. Its URL and its password may be in files, which each connection reads anew."""

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from worker.secret_file import UnreadableSecret, read_secret
from worker.store.address import HIDDEN, place_of, problem_of


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is, and who connects. The file of a URL wins over `url`, that of a password over both."""

    url: str = field(repr=False)
    url_file: str | None = None
    password_file: str | None = None

    async def connect(self, *_no_dsn: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection with the present credentials. Raises what asyncpg raises, and `UnreadableSecret`.

        A pool calls this with None, for the URL that it does not know, and with its options.
        """
        if self.password_file:
            options["password"] = read_secret("PASSPORT_DATABASE_PASSWORD_FILE", self.password_file)
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self.present_url(), **options)
        return connection

    def present_url(self) -> str:
        """The URL of the next connection. Raises `UnreadableSecret`, also where a file holds no good URL."""
        if not self.url_file:
            return self.url
        url = read_secret("PASSPORT_DATABASE_URL_FILE", self.url_file)
        if problem := problem_of(url):
            raise UnreadableSecret("PASSPORT_DATABASE_URL_FILE", problem)
        return url

    def tls_file(self, variable: str) -> str | None:
        """The file that a variable such as PGSSLROOTCERT names, or the URL in its place. Raises `UnreadableSecret`."""
        parameters = parse_qs(urlsplit(self.present_url()).query)
        in_url = parameters.get(variable.removeprefix("PG").lower())
        return in_url[-1] if in_url else os.environ.get(variable)

    @property
    def place(self) -> str:
        """The servers and the name of the database, for people."""
        try:
            return place_of(self.present_url())
        except UnreadableSecret:
            return HIDDEN
