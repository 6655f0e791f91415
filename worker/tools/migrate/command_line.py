"""`passport-worker migrate`."""

from typing import Annotated

from cyclopts import App, Parameter

from worker.store.partitions import ensure_days
from worker.tools.cli.asking import AuthorOptions
from worker.tools.cli.running import run_async, settings_with_warnings
from worker.tools.common.connect import connect
from worker.tools.common.migrating import migrate
from worker.tools.common.rights import READER, RUN
from worker.tools.migrate.grants import grant_rights

app = App(name="migrate", help_format="plaintext")


@app.default
def migrate_command(
    *,
    grant_to: Annotated[str | None, Parameter(help="Grant this role the rights that `run` needs.")] = None,
    grant_read_to: Annotated[
        str | None, Parameter(help="Grant this role the rights to read everything but hashes of API keys.")
    ] = None,
    acting: AuthorOptions = AuthorOptions(),  # noqa: B008 - frozen
) -> None:
    """Bring the database to this version's schema. Safe to repeat, and to start several times at once."""
    settings, author = settings_with_warnings(), acting.author()

    async def bring_up() -> None:
        connection = await connect(settings.database_url)
        try:
            applied = await migrate(connection, author)
            await ensure_days(connection)
            if grant_to is not None:
                await grant_rights(connection, grant_to, RUN, author)
            if grant_read_to is not None:
                await grant_rights(connection, grant_read_to, READER, author)
        finally:
            await connection.close()
        print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
        if grant_to is not None:
            print(f"{grant_to} may do what `run` does")
        if grant_read_to is not None:
            print(f"{grant_read_to} may do what changes nothing")

    run_async(bring_up)
