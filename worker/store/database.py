"""The database of the settings. Its URL and its password may be in files, which each connection reads again."""

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from worker.secret_file import UnreadableSecret, read_secret
from worker.store.address import HIDDEN, place_of, problem_of


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is, and who connects. `url_file` wins over `url`, and `password_file` over both."""

    url: str = field(repr=False)
    url_file: str | None = None
    password_file: str | None = None

    async def connect(self, *_no_dsn: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect with the present credentials. Raises the errors of asyncpg, and `UnreadableSecret`.

        A pool passes its options, after None in place of a URL.
        """
        if self.password_file:
            options["password"] = read_secret("PASSPORT_DATABASE_PASSWORD_FILE", self.password_file)
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self.present_url(), **options)
        return connection

    def present_url(self) -> str:
        """The URL of the next connection. Raises `UnreadableSecret`, also if the file holds a bad URL."""
        if not self.url_file:
            return self.url
        url = read_secret("PASSPORT_DATABASE_URL_FILE", self.url_file)
        if problem := problem_of(url):
            raise UnreadableSecret("PASSPORT_DATABASE_URL_FILE", problem)
        return url

    def tls_file(self, variable: str) -> str | None:
        """The file that a variable such as PGSSLROOTCERT names; the URL overrides it. Raises `UnreadableSecret`."""
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
