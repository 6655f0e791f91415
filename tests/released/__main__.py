"""`python -m tests.released` writes schemas, statements and promises of this version: the last step of a release."""

from tests.released import FOLDER, promises, this_version
from tests.schema_checks import SCHEMAS
from worker.tools.asyncapi.schemas import schemas, text_of

if __name__ == "__main__":
    release = this_version()
    own, messages = FOLDER / release.version, SCHEMAS / "released" / release.version
    try:
        release.write(own)
    except FileExistsError:
        raise SystemExit(
            f"{own} is there. Raise __version__ in worker/__init__.py, or delete it to write it again."
        ) from None
    (own / promises.FILE).write_text(promises.text_of(promises.promises_of_today()), encoding="utf-8")
    messages.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (messages / name).write_text(text_of(schema), encoding="utf-8")
    print(f"wrote {own}\nwrote {messages}")
