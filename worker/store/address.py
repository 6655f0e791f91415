"""Checks the URL of the database. Its messages quote no part of the URL, since any part may belong to a password."""

import inspect
import os
import re
from typing import Any

from asyncpg import connect_utils
from asyncpg.exceptions import ClientConfigurationError

# Parameters of the driver, and useful settings of the server. The driver would pass any other to the server.
_PARAMETERS = (
    "application_name, database, dbname, gsslib, host, krbsrvname, options, passfile, password, port, search_path, "
    "service, ssl_max_protocol_version, ssl_min_protocol_version, sslcert, sslcrl, sslkey, sslmode, sslnegotiation, "
    "sslpassword, sslrootcert, target_session_attrs, user"
)

_SHAPE = "expected postgresql://user:password@host:port/database"
_ENCODED = "with % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B and ] as %5D in user and password"
_RAW = (
    (re.compile(r"[\s\x00-\x1f]"), "white space"),
    (re.compile(r"#"), "a #"),
    (re.compile(r"%(?![0-9A-Fa-f]{2})"), "a % without two hexadecimal digits"),
    (re.compile(r"@.*@|[/?].*@"), "an @ that does not stand between password and host"),
)
_HOST = re.compile(r"([^][:]*|\[[^][]*\])(?::[0-9]{1,5})?")


# Shown instead of an address that may hold a password.
HIDDEN = "an address that cannot be shown without its password"


def problem_of(url: str) -> str | None:
    """The mistake in a URL; None if the driver can use it, together with the PG* variables of the environment."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        return "expected a URL that starts with postgresql://"
    for pattern, mistake in _RAW:
        if pattern.search(rest):
            return f"{_SHAPE}, {_ENCODED}; found {mistake}"
    address, _, query = rest.partition("?")
    parameters = {pair.partition("=")[0] for pair in query.split("&") if pair}
    if not parameters <= set(_PARAMETERS.split(", ")):
        return f"expected no other parameters than {_PARAMETERS}"
    hosts = [_HOST.fullmatch(server) for server in address.partition("/")[0].rpartition("@")[2].split(",")]
    if None in hosts:
        return f"{_SHAPE}, {_ENCODED}; found a port that is no number, or a host that is no name"
    elsewhere = parameters & {"host", "service"} or os.environ.get("PGHOST") or os.environ.get("PGSERVICE")
    if not all(host and host[1] for host in hosts) and not elsewhere:
        return f"{_SHAPE}; found no host"
    return _problem_of_driver(url)


def parsed(url: str) -> tuple[list[Any], Any]:
    """The driver's addresses and parameters for a connection. The driver has no public function for that."""
    parse = connect_utils._parse_connect_dsn_and_args  # type: ignore[attr-defined]  # the stubs leave it out
    addresses, parameters = parse(**{**dict.fromkeys(inspect.signature(parse).parameters), "dsn": url})
    return addresses, parameters


def has_password(url: str) -> bool:
    """Whether a URL itself holds a password. False for a URL with a mistake."""
    if problem_of(url):
        return False
    user, _, _ = url.partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")
    return ":" in user or bool(re.search(r"[?&]password=", url))


def place_of(url: str) -> str:
    """The servers and the database that the driver would connect to, as `host:port/name`."""
    try:
        if problem_of(url) is None:
            addresses, parameters = parsed(url)
            servers = [server if isinstance(server, str) else f"{server[0]}:{server[1]}" for server in addresses]
            return f"{','.join(servers)}/{parameters.database}"
    except OSError:  # missing certificates, see `_problem_of_driver`
        pass
    return HIDDEN


def _problem_of_driver(url: str) -> str | None:
    try:
        addresses, _ = parsed(url)
    except ClientConfigurationError as error:
        return f"expected what the driver can use: {error.args[0]}"
    except OSError:  # the command that checks the URL may run on a machine without the certificates
        return None
    except Exception as error:  # its text may quote the URL
        return f"{_SHAPE}, {_ENCODED}; found {type(error).__name__}"
    if any(isinstance(address, tuple) and not 0 < address[1] < 65536 for address in addresses):
        return f"{_SHAPE}; found a port that is not from 1 to 65535"
    return None
