"""The report of `migrate --plan`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class PlannedMigration(Model):
    """A migration that the database lacks."""

    name: str
    readable_from: int = Field(description="The oldest schema whose workers can run on the schema of this migration.")
    locks: tuple[str, ...] = Field(description="Locks for which workers would wait; `migrate` waits briefly for them.")
    in_transaction: bool = Field(description="False: a killed run leaves an index behind, and the next run repeats it.")
    table: str | None = Field(description="The table whose rows decide how long it takes.")
    rows: int | None = Field(description="Its rows, as Postgres estimates them.")
    seconds_per_million_rows: float | None = Field(description="As measured by the benchmark; null: no table.")
    seconds: float = Field(description="A guess: for this many rows, on a machine like that of the benchmark.")


class MigratePlanReport(Report):
    """`passport-worker migrate --plan`: what it would do. Nothing is changed."""

    database_schema: int | None = Field(
        description="Number of the newest applied migration; null: an empty database, or one that did not answer."
    )
    version_schema: int = Field(description="Number of the newest migration of this version.")
    workers_go_on: bool = Field(
        description="Workers of the database's schema can run on the new one: no need to stop them."
    )
    migrations: tuple[PlannedMigration, ...]
