"""The reports of the `keys` verbs."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report

KeyState = Literal["valid", "revoked", "revoked-later"]


class KeyReport(Model):
    """An API key; the key itself is kept nowhere."""

    sha256: str = Field(description="SHA-256 of the key, in hexadecimal digits.")
    company: str = Field(description="Whose it is.")
    label: str
    revoked_at: datetime | None = Field(description="Commands that were appended then or later are refused.")
    state: KeyState = Field(description="By the database's clock.")


class KeysListReport(Report):
    """`passport-worker keys list`: by company and label."""

    keys: tuple[KeyReport, ...]


class KeysRevokeReport(Report):
    """`passport-worker keys revoke`: from when on the key is refused."""

    revoked: KeyReport | None = Field(description="As it is now; null where it is not known which key was meant.")
    changed: bool = Field(description="Whether it is refused earlier than before.")


class KeysCreateReport(Report):
    """`passport-worker keys create`: the one time that the key is seen."""

    key: str | None = Field(repr=False, description="What producers send; null where none was made.")
    created: KeyReport | None
    line: dict[str, str] | None = Field(description="What the company's `apiKeys` in a catalogue file say of it.")


class KeysRotateReport(KeysCreateReport):
    """`passport-worker keys rotate`: a key in place of another."""

    revoked: KeyReport | None = Field(description="The old key, with the end of the overlap.")
