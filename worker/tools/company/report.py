"""The report of `company close`, and the lines of `company export`: JSON objects, whose `kind` says what they are."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from worker.tools.common.report import Model, Report


class CompanyCloseReport(Report):
    """`passport-worker company close`: what closing a company changes, or would change."""

    executed: bool = Field(
        default=False, description="Whether the company was closed; otherwise this is only the plan."
    )
    operation: str | None = Field(default=None, description="Id of the row in the table `operation`.")
    company: str | None = Field(default=None, description="Id of the company; null if none was found.")
    name: str | None = Field(default=None, description="Name of the company.")
    closed_at: datetime | None = Field(
        default=None, description="Commands appended then or later get 401; null: the company is open."
    )
    api_keys: int = Field(default=0, description="API keys that were valid, and are or would be revoked.")
    signing_keys: int = Field(default=0, description="Signing keys that were valid, and are or would be revoked.")
    passports: int = Field(default=0, description="Passports of the company, which stay.")


class CompanyLine(Model):
    """The company: the first line."""

    kind: Literal["company"] = "company"
    id: str = Field(alias="_id")
    name: str
    plan: str
    subscription: str | None
    prefill: dict[str, Any] = Field(description="Values for fields of all its passports.")
    channels: tuple[str, ...] | None
    signatures_required_from: datetime | None
    closed_at: datetime | None = Field(description="Commands appended then or later get 401; null: it is open.")
    passports: int = Field(description="Number of its passports when the export began.")


class ApiKeyLine(Model):
    """An API key, without its hash."""

    kind: Literal["api-key"] = "api-key"
    label: str
    revoked_at: datetime | None


class SigningKeyLine(Model):
    """A public key whose private key signs commands."""

    kind: Literal["signing-key"] = "signing-key"
    jwk: dict[str, str]
    label: str
    not_before: datetime | None
    revoked_at: datetime | None


class ProductLine(Model):
    """A product."""

    kind: Literal["product"] = "product"
    id: str = Field(alias="_id")
    template_id: str
    name: str
    model: str
    default_field_values: dict[str, Any]


class ChargeOfPassport(Model):
    """The fee for a passport above the plan's limit."""

    price_cents: int
    charged_at: datetime


class PassportLine(Model):
    """A passport. Passports come in the order of GTIN and serial number."""

    kind: Literal["passport"] = "passport"
    passport: dict[str, Any] = Field(
        description="The value of its created event (created.v1.json). Its `_id` is what `--after` takes."
    )
    charge: ChargeOfPassport | None


class EndLine(Model):
    """The last line of an export that was not interrupted."""

    kind: Literal["end"] = "end"
    passports: int = Field(description="Number of passports in these lines.")


class ExportLine(
    RootModel[
        Annotated[
            CompanyLine | ApiKeyLine | SigningKeyLine | ProductLine | PassportLine | EndLine,
            Field(discriminator="kind"),
        ]
    ]
):
    """A line of `passport-worker company export`."""
