"""When the Kafka certificates that the settings name expire."""

from collections.abc import Iterator

import structlog
from cryptography import x509

from worker.settings import Settings

log = structlog.get_logger(__name__)

# The certificate of this worker, and those of the authorities that vouch for the brokers.
CERTIFICATES = ("client", "ca")


class UnreadableCertificate(Exception):
    """A file holds no certificate that can be read. The text is the type of the failure."""


def expiry(settings: Settings, name: str) -> float | None:
    """The end of validity of one of `CERTIFICATES`, in Unix seconds; None where the settings name no file.

    Raises `UnreadableCertificate`.
    """
    # A client's chain breaks with its first certificate. A bundle of authorities holds old ones beside new ones while
    # they are exchanged, so it serves until its last one expires.
    path, which = (settings.kafka_ssl_certfile, min) if name == "client" else (settings.kafka_ssl_cafile, max)
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            certificates = x509.load_pem_x509_certificates(file.read())
        return which(certificate.not_valid_after_utc.timestamp() for certificate in certificates)
    except Exception as error:  # a file can be wrong in many ways
        raise UnreadableCertificate(type(error).__name__) from error


def expiries(settings: Settings) -> Iterator[tuple[str, float]]:
    """The `expiry` of each of `CERTIFICATES` that is configured and readable."""
    for name in CERTIFICATES:
        try:
            ends = expiry(settings, name)
        except UnreadableCertificate as error:  # must not stop housekeeping
            log.warning("certificate_unreadable", certificate=name, error=str(error))
        else:
            if ends is not None:
                yield name, ends
