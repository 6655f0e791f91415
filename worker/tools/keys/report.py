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
    name: str = Field(description="Name of the company.")
    label: str
    revoked_at: datetime | None = Field(description="Commands appended then or later are refused.")
    state: KeyState = Field(description="By the database's clock.")


class KeysListReport(Report):
    """`passport-worker keys list`: by company and label."""

    keys: tuple[KeyReport, ...]


class KeysChangeReport(Report):
    """The part that the reports on changes of keys share."""

    executed: bool = Field(default=False, description="Whether keys were changed; otherwise this is only the plan.")
    operation: str | None = Field(default=None, description="Id of the row in the table `operation`.")


class KeysRevokeReport(KeysChangeReport):
    """`passport-worker keys revoke`: the revoked key."""

    revoked: KeyReport | None = Field(
        default=None, description="The key as it is after the change, or as it would be; null if none was found."
    )
    changed: bool = Field(default=False, description="Whether it is, or would be, refused earlier than before.")
    warnings: tuple[str, ...] = Field(default=(), description="What is unusual, but does not prevent the revocation.")


class KeysCreateReport(KeysChangeReport):
    """`passport-worker keys create`: the new key, which is shown only here."""

    company: str | None = Field(default=None, description="The company that gets the key; null if none was found.")
    name: str | None = Field(default=None, description="Name of the company.")
    label: str | None = Field(default=None, description="Label of the new key.")
    key: str | None = Field(
        default=None, repr=False, description="The key that producers send; null if none was created."
    )
    created: KeyReport | None = None
    line: dict[str, str] | None = Field(
        default=None, description="Entry for the company's `apiKeys` in a catalogue file."
    )


class KeysRotateReport(KeysCreateReport):
    """`passport-worker keys rotate`: a new key in place of an old one."""

    revoked: KeyReport | None = Field(
        default=None, description="The old key, as it is or would be, with the end of the overlap."
    )
