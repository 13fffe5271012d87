"""Presigned URLs of Hanabi's own: each is valid for one purpose until it expires, for anyone who has it.

The signing key is derived from the owner's secret for that purpose, and the form is not AWS's. So such a URL is never accepted as an
AWS signature, and no AWS signature is accepted as such a URL.
"""

import hashlib
import hmac
from urllib.parse import parse_qsl

EXPIRES, SIGNATURE = "X-Hanabi-Expires", "X-Hanabi-Signature"


class PresignedUrls:
    """The URLs of one purpose, signed and checked: `GET` of one path, at the URL's host, until it expires."""

    def __init__(self, secret_key: str, purpose: str) -> None:
        self._key = hmac.digest(f"HANABI-GRANT{secret_key}".encode(), purpose.encode(), "sha256")

    def sign(self, host: str, path: str, expires: int) -> str:
        """Make a URL. `expires` is in Unix seconds."""
        return f"http://{host}{path}?{EXPIRES}={expires}&{SIGNATURE}={self._digest(host, path, str(expires))}"

    def check(self, host: str, path: str, query: str, now: float) -> str:
        """Return "" for a valid request, else "missing", "expired" or "wrong"."""
        fields = parse_qsl(query, keep_blank_values=True)[:3] if len(query) <= 256 else []
        if [name for name, _ in fields] != [EXPIRES, SIGNATURE]:
            return "missing"
        (_, expires), (_, signature) = fields
        if not hmac.compare_digest(self._digest(host, path, expires).encode(), signature.encode()):
            return "wrong"
        return "expired" if int(expires) <= now else ""

    def _digest(self, host: str, path: str, expires: str) -> str:
        text = "\n".join(("GET", host.lower(), path, expires))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
