"""URLs that are good for whoever holds them, for one purpose and for a while.

They are signed with a key of their own, made from the owner's secret for that one purpose, in a form that is not AWS's: nothing
that takes an AWS signature takes them, and no AWS signature is taken for one.
"""

import hashlib
import hmac
from urllib.parse import parse_qsl

EXPIRES, SIGNATURE = "X-Hanabi-Expires", "X-Hanabi-Signature"


class PresignedUrls:
    """Makes and checks the URLs of one purpose: `GET` of one path, at the host that the URL names, until it expires."""

    def __init__(self, secret_key: str, purpose: str) -> None:
        self._key = hmac.digest(f"HANABI-GRANT{secret_key}".encode(), purpose.encode(), "sha256")

    def sign(self, host: str, path: str, expires: int) -> str:
        """The URL. `expires` is Unix seconds."""
        return f"http://{host}{path}?{EXPIRES}={expires}&{SIGNATURE}={self._digest(host, path, str(expires))}"

    def check(self, host: str, path: str, query: str, now: float) -> str:
        """ "" when the request is what a URL was made for, else what is wrong: "missing", "expired" or "wrong"."""
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
