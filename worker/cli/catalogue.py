"""`passport-worker catalogue`: reference data, from files into the database."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from worker.catalogue.file import CatalogueError, UnreadableFile, read_catalogue
from worker.catalogue.models import Catalogue
from worker.catalogue.warnings import warnings_of
from worker.cli.errors import BadUsage, Failed
from worker.cli.running import run_async, settings_with_warnings, warn
from worker.settings import Settings
from worker.store.catalogue import load_catalogue, templates_of
from worker.store.connect import connect
from worker.store.migrate import check_schema

catalogue = App(name="catalogue", help="Reference data: plans, companies, API keys, templates, products.")


@catalogue.command(name="load")
def catalogue_load(file: Annotated[Path, Parameter(help="A JSON or YAML file.")], /) -> None:
    """Insert or update plans, companies, API keys, templates and products. Safe to repeat and while workers run."""
    settings = settings_with_warnings()
    try:
        contents = read_catalogue(file)
        run_async(lambda: _load(contents, settings))
    except UnreadableFile as error:
        raise BadUsage(str(error)) from error
    except CatalogueError as error:
        raise Failed("\n  ".join([f"{file} cannot be loaded:", *error.problems])) from error


_MOST_WARNINGS = 100


async def _load(contents: Catalogue, settings: Settings) -> None:
    connection = await connect(settings.database_url)
    try:
        problem = await check_schema(connection)
        if problem is not None:
            raise Failed(str(problem))
        unusual = warnings_of(contents, await templates_of(connection, contents))
        for warning in islice(unusual, _MOST_WARNINGS):
            warn(warning)
        if others := sum(1 for _ in unusual):
            warn(f"and {others} more of them")
        loaded = await load_catalogue(connection, contents)
    finally:
        await connection.close()
    print("loaded " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(loaded).items()))
