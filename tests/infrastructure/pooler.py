"""PgBouncer in front of a PostgreSQL, which tests talk through."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from tests.infrastructure.tools import tool
from worker.tools.demo.embedded import HOST, ServerProcess, let_others_reach

ROLES = ("postgres", "pooled")
"""Who may log in; the server asks none of them for a password."""

SETTINGS = """
[databases]
* = host={host} port={server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""


class PgBouncer(ServerProcess):
    """Pools sessions or transactions, and drops the startup parameters in `ignored` without a word."""

    def __init__(self, directory: Path, server_url: str, mode: str, ignored: str = "") -> None:
        super().__init__("pgbouncer", directory)
        self._program = tool("pgbouncer")
        self.user = "nobody" if os.geteuid() == 0 else None
        let_others_reach(Path(self._program).resolve().parent)
        self._settings = directory / "pgbouncer.ini"
        server = urlsplit(server_url).port
        users = directory / "users.txt"
        users.write_text("".join(f'"{role}" ""\n' for role in ROLES))
        values = {"host": HOST, "server": server, "port": self.port, "mode": mode, "ignored": ignored, "users": users}
        self._settings.write_text(SETTINGS.format(**values))

    def url_of(self, database_url: str) -> str:
        """The same database, through the pooler."""
        parts = urlsplit(database_url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")).geturl()

    def command(self) -> list[str]:
        """In the foreground."""
        return [self._program, str(self._settings)]
