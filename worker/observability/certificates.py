"""Finds when the certificates of the settings expire, for Kafka and for Postgres."""

from collections.abc import Iterator, Mapping

import structlog
from cryptography import x509

from worker.settings import Settings

log = structlog.get_logger(__name__)

# This worker's certificates, and those of the authorities that vouch for servers, by the variables that name their
# files. A parameter of the database's URL wins over its PG* variable.
CERTIFICATES: Mapping[str, str] = {
    "client": "PASSPORT_KAFKA_SSL_CERTFILE",
    "ca": "PASSPORT_KAFKA_SSL_CAFILE",
    "database-client": "PGSSLCERT",
    "database-ca": "PGSSLROOTCERT",
}


class UnreadableCertificate(Exception):
    """The certificates in a file cannot be read. The text is the type of the failure."""


def expiry(settings: Settings, name: str) -> float | None:
    """The end of validity of one of `CERTIFICATES`, in Unix seconds; None if the settings name no file.

    Raises `UnreadableCertificate`.
    """
    # A client's chain breaks when its first certificate expires. A bundle of authorities holds old and new ones while
    # they are exchanged, so it is good until its last one expires.
    which = min if name.endswith("client") else max
    try:
        if name.startswith("database-"):
            path = settings.database.tls_file(CERTIFICATES[name])
        else:
            path = settings.kafka_ssl_certfile if name == "client" else settings.kafka_ssl_cafile
        if not path:
            return None
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
        except UnreadableCertificate as error:  # this must not stop housekeeping
            log.warning("certificate_unreadable", certificate=name, error=str(error))
        else:
            if ends is not None:
                yield name, ends
