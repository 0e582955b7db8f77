"""Exposure check: refuse to start if the service would be open, or TLS half configured, by oversight."""

import ssl

from dinrank.service.access.keys import read_digests
from dinrank.service.access.own_names import is_loopback
from dinrank.service.settings import Settings


class Exposed(Exception):
    """The settings would give unintended access; the message says which one to change."""


class BadCertificate(Exception):
    """HTTPS is configured, but its certificate or key is unusable; the message names the file."""


def check_exposure(settings: Settings) -> None:
    """Check the keys and the TLS files before any worker starts.

    Raises:
        Exposed, BadKeyFile, BadCertificate
    """
    api_keys, admin_keys = (
        read_digests(path) if path is not None else () for path in (settings.api_keys_file, settings.admin_keys_file)
    )
    if set(api_keys) & set(admin_keys):
        raise Exposed(
            f"{settings.api_keys_file} and {settings.admin_keys_file} have a key in common, and callers are no admins: "
            "`openssl rand -hex 32` makes another"
        )
    if settings.api_keys_file is None and settings.anonymous != "allowed" and not is_loopback(settings.host):
        raise Exposed(
            f"on {settings.host} anybody who reaches this machine could use the service: set DINRANK_API_KEYS_FILE to "
            "a file of keys, or DINRANK_ANONYMOUS=allowed if something else keeps strangers out"
        )
    _check_certificate(settings)


def _check_certificate(settings: Settings) -> None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise BadCertificate("HTTPS needs both: set DINRANK_TLS_CERTIFICATE and DINRANK_TLS_KEY, or neither")
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as exc:
            raise BadCertificate(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        # An encrypted key is refused here; without a callback OpenSSL would prompt on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise BadCertificate(
            f"{certificate} and {key} are no PEM certificate with its unencrypted key: {reason}"
        ) from exc


def _no_password() -> str:
    raise ValueError("the key is encrypted")
