"""The TLS handshake of a connection that a peer opened: bounded in time, and told in words."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from oncopixel_pacs.receive.floods import Connection
from oncopixel_pacs.tls import RenewingContext, fingerprint

#: What OpenSSL calls it, and what it means here.
WORDS: tuple[tuple[str, str], ...] = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it showed no certificate"),
    ("HTTP_REQUEST", "it does not speak TLS"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("UNSUPPORTED_PROTOCOL", "it offers no TLS version later than 1.1"),
    ("VERSION_TOO_LOW", "it offers no TLS version later than 1.1"),
    ("NO_SHARED_CIPHER", "it offers no cipher suite of RFC 9325"),
    ("ALERT_UNKNOWN_CA", "it does not trust our certificate; give it our authority's"),
    ("ALERT_CERTIFICATE_UNKNOWN", "it does not trust our certificate; give it our authority's"),
    ("ALERT_BAD_CERTIFICATE", "it refuses our certificate"),
    ("CERTIFICATE_EXPIRED", "it says that our certificate expired"),
)
_UNVOUCHED = "no authority of [tls] ca_file vouches for its certificate"
#: What OpenSSL says of a certificate by number (X509_V_ERR_...).
VERDICTS: dict[int, str] = {
    9: "its certificate is not valid yet; compare the clocks",
    10: "its certificate expired",
    18: _UNVOUCHED,
    19: _UNVOUCHED,
    20: _UNVOUCHED,
    21: _UNVOUCHED,
}


class TlsDoor:
    """Shakes hands with whoever connects.

    Parameters
    ----------
    context
        Of our side.
    seconds
        How long a handshake may take, from its beginning to its end.
    refused
        Told of each handshake that failed: address and reason.
    """

    def __init__(
        self, context: RenewingContext, seconds: float, refused: Callable[[str, str], None]
    ) -> None:
        self._context = context
        self._seconds = seconds
        self._refused = refused

    def open(self, connection: Connection) -> ssl.SSLSocket | None:
        """Return the secured socket, which is the connection's from now on; ``None`` if refused."""
        plain = connection.socket
        plain.settimeout(self._seconds)
        try:
            secured = self._context.latest().wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            )
        except OSError:
            plain.close()  # gone before it began
            return None
        connection.socket = secured
        try:
            # Its timeout is for all of the handshake, not for each of its reads.
            secured.do_handshake()
        except (OSError, ValueError) as exc:
            connection.cut()
            secured.close()
            self._refused(connection.address, _reason(exc))
            return None
        connection.secured = True
        shown = secured.getpeercert(binary_form=True)
        connection.certificate_sha256 = fingerprint(shown) if shown else ""
        return secured


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        other = f"its certificate is not accepted: {exc.verify_message}"
        return VERDICTS.get(exc.verify_code, other)
    if isinstance(exc, TimeoutError):
        return "it did not finish the handshake in time"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        words = (words for name, words in WORDS if name in exc.reason)
        return next(words, f"the handshake failed ({exc.reason})")
    return "it closed the connection during the handshake"
