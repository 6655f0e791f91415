"""The reports of the `keys` verbs."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report

KeyState = Literal["valid", "revoked", "revoked-later"]


class KeyReport(Model):
    """An API key. The key itself is not stored."""

    sha256: str = Field(description="SHA-256 of the key, in hexadecimal digits.")
    company: str = Field(description="The company that owns it.")
    label: str
    revoked_at: datetime | None = Field(description="Commands appended then or later are refused.")
    state: KeyState = Field(description="By the database's clock.")


class KeysListReport(Report):
    """`passport-worker keys list`: by company and label."""

    keys: tuple[KeyReport, ...]


class KeysRevokeReport(Report):
    """`passport-worker keys revoke`: the revoked key."""

    revoked: KeyReport | None = Field(description="The key after the change; null if none was found.")
    changed: bool = Field(description="Whether it is refused earlier than before.")


class KeysCreateReport(Report):
    """`passport-worker keys create`: the new key, which is shown only here."""

    key: str | None = Field(repr=False, description="The key that producers send; null if none was created.")
    created: KeyReport | None
    line: dict[str, str] | None = Field(description="Entry for the company's `apiKeys` in a catalogue file.")


class KeysRotateReport(KeysCreateReport):
    """`passport-worker keys rotate`: a new key in place of an old one."""

    revoked: KeyReport | None = Field(description="The old key, with the end of the overlap.")
