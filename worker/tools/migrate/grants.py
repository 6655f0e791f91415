"""Gives a database role the rights of its kind."""

import asyncpg

from worker.store import sql
from worker.store.grants import lacking_of
from worker.store.sql import Connection
from worker.tools.common.journal import Author, operation
from worker.tools.common.migrating import MigrationError, alone
from worker.tools.common.rights import Role


async def grant_rights(connection: Connection, role: str, kind: Role, author: Author | None = None) -> None:
    """Give `role` the rights of its kind. Safe to repeat, and for many processes at once.

    If the role lacked some, and there is an author, a row of `operation` says who gave them.

    Raises `MigrationError` if the role does not exist, or the connection's role is not the tables' owner.
    """
    async with alone(connection):
        names = await connection.fetchrow(sql.load("grantee", __package__), role)
        if names is None:
            raise MigrationError(f'The role "{role}" does not exist: create it first, with CREATE ROLE.')
        lacked = await lacking_of(connection, kind.rights, role)
        try:
            # GRANT takes no parameters. `grantee` has quoted both names.
            await connection.execute(sql.load(kind.query).format(**names))
        except asyncpg.InsufficientPrivilegeError as error:
            advice = f"run `passport-worker migrate {kind.option}` as the owner of the tables."
            raise MigrationError(f"{error}: {advice}") from error
        lacking = await lacking_of(connection, kind.rights, role)
        if author is not None and lacked.rights and not lacking.rights:
            async with operation(connection, "migrate", author, {"grantTo": role, "rights": kind.query}):
                pass
    if lacking.rights:  # Postgres only warns a role that has a right but may not give it
        raise MigrationError(
            f"Could not give {role} {lacking}: run `passport-worker migrate` as the owner of the tables."
        )
