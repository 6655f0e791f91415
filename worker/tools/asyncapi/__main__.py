"""`python -m worker.tools.asyncapi [DIR]` writes every generated file of `schemas/`."""

from argparse import ArgumentParser
from pathlib import Path

from worker.settings import Settings
from worker.tools.asyncapi.files import write_contract


def main() -> None:
    """Write the files. The AsyncAPI document describes topics and group of the environment's settings."""
    parser = ArgumentParser(
        prog="python -m worker.tools.asyncapi",
        description="Write JSON Schemas, asyncapi.yaml, catalogue.md and settings.md.",
    )
    parser.add_argument("directory", nargs="?", default="schemas", type=Path, help="holds examples/; default: schemas")
    write_contract(parser.parse_args().directory, Settings())


if __name__ == "__main__":
    main()
