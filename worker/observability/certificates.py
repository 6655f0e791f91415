"""When the Kafka certificates that the settings name expire."""

from collections.abc import Iterator

import structlog
from cryptography import x509

from worker.settings import Settings

log = structlog.get_logger(__name__)

CERTIFICATES = ("client", "ca")
"""Ours, and those of the authorities that vouch for the brokers."""


class UnreadableCertificate(Exception):
    """A file holds no certificate that can be read; the text says what kind of failure it was."""


def expiry(settings: Settings, name: str) -> float | None:
    """The end of validity of one of `CERTIFICATES`, in Unix seconds; None where the settings name none.

    A client's chain is as good as its first certificate to expire. A bundle of authorities holds old ones beside new
    ones while they are exchanged, so it is good until its last one expires. Raises `UnreadableCertificate`.
    """
    path, which = (settings.kafka_ssl_certfile, min) if name == "client" else (settings.kafka_ssl_cafile, max)
    if not path:
        return None
    try:
        return which(_ends(path))
    except Exception as error:  # what is wrong with a file takes many forms
        raise UnreadableCertificate(type(error).__name__) from error


def expiries(settings: Settings) -> Iterator[tuple[str, float]]:
    """`CERTIFICATES`, as far as they are configured and readable, each with its `expiry`."""
    for name in CERTIFICATES:
        try:
            ends = expiry(settings, name)
        except UnreadableCertificate as error:  # none may stop housekeeping
            log.warning("certificate_unreadable", certificate=name, error=str(error))
        else:
            if ends is not None:
                yield name, ends


def _ends(path: str) -> list[float]:
    with open(path, "rb") as file:
        return [one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(file.read())]
