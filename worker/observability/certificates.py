"""When the Kafka certificates that the settings name expire."""

from collections.abc import Iterator

import structlog
from cryptography import x509

from worker.settings import Settings

log = structlog.get_logger(__name__)


def expiries(settings: Settings) -> Iterator[tuple[str, float]]:
    """`client` and `ca`, as far as they are configured and readable, with the end of their validity in Unix seconds.

    A client's chain is as good as its first certificate to expire. A bundle of authorities holds old ones beside new
    ones while they are exchanged, so it is good until its last one expires.
    """
    for name, path, which in (
        ("client", settings.kafka_ssl_certfile, min),
        ("ca", settings.kafka_ssl_cafile, max),
    ):
        if path:
            try:
                ends = _ends(path)
            except Exception as error:  # what is wrong with a file takes many forms, and none may stop housekeeping
                log.warning("certificate_unreadable", certificate=name, error=type(error).__name__)
            else:
                yield name, which(ends)


def _ends(path: str) -> list[float]:
    with open(path, "rb") as file:
        return [one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(file.read())]
