"""`passport-worker console`."""

import asyncio
import signal
from contextlib import suppress
from typing import Annotated

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.tools.cli.asking import examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.running import run_async, settings_with_warnings, warn
from worker.tools.common.connect import CannotConnect
from worker.tools.common.inspection import inspection
from worker.tools.common.rights import may_change

app = App(
    name="console",
    help_epilogue=examples(
        "console",
        "console --host 0.0.0.0 --allowed-host console.example.com",
        "console --user-header X-Forwarded-User",
    ),
)

_HOST = Parameter(help="The address to listen on. On any but a loopback address, readers need a signed token.")
_ALLOWED = Parameter(name="--allowed-host", help="A host name that browsers may use, in addition to those of loopback.")
_USER = Parameter(
    help="In place of tokens: the header in which a proxy names the reader. The proxy must be on this machine, or send "
    "the secret of PASSPORT_CONSOLE_PROXY_SECRET_FILE."
)


@app.default
def console_command(
    *,
    host: Annotated[str, _HOST] = "127.0.0.1",
    port: Annotated[int, Parameter(help="0: any free port.")] = 8090,
    allowed_host: Annotated[tuple[str, ...], _ALLOWED] = (),
    user_header: Annotated[str | None, _USER] = None,
) -> None:
    """Serve pages for operators and support until SIGTERM or SIGINT: lanes, activity, refusals and their reasons.

    The console only reads: give it a reader's role (migrate --grant-read-to). It logs who reads what. It has no
    sign-on: put that of your platform in front of it, to send a signed token of the reader
    (PASSPORT_CONSOLE_TOKEN_HEADER). A token's role is viewer or support.
    """
    if not 0 <= port <= 65535:
        raise BadUsage(f"--port: expected a number from 0 to 65535, got {port}")
    settings = settings_with_warnings()
    configure_logs()
    try:
        from worker.tools.console.door import door_of, is_loopback
        from worker.tools.console.guard import Guard
        from worker.tools.console.server import serving
    except ImportError as error:
        message = f"{error.name} is not installed. Run pip install '.[console]' in a checkout of passport-worker"
        raise Failed(message) from error
    guard = Guard(allowed_host, door_of(settings, host, user_header))
    if user_header is not None and settings.console_proxy_secret_file is None and not is_loopback(host):
        warn(f"{user_header} counts only from this machine: PASSPORT_CONSOLE_PROXY_SECRET_FILE is not set")

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with serving(settings, host, port, guard) as address:
            print(address)
            asking = asyncio.create_task(_warn_of_rights(settings))
            await stop.wait()
            asking.cancel()

    try:
        run_async(serve)
    except OSError as error:
        raise Failed(f"--host {host} --port {port} cannot be used: {error.strerror or error}") from error


async def _warn_of_rights(settings: Settings) -> None:
    """Warn of a role that could write: the console's sessions only read, so it needs less."""
    with suppress(CannotConnect):
        async with inspection(settings.database) as database:
            if await may_change(database.connection):
                warn("this database role can write. Use one with a reader's rights (migrate --grant-read-to ROLE)")
