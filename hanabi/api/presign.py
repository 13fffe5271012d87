"""URLs that are signed for whoever holds them, for a while: SigV4 in the query, by the owner's key."""

import hashlib
import hmac
import time
from urllib.parse import quote

from hanabi.api.keys import Key
from hanabi.api.sigv4 import ALGORITHM, Claim, canonical_path, derive_key


def presign(key: Key, now: float, region: str, service: str, host: str, path: str, seconds: int) -> str:
    """A URL for `GET path` at `host`, good for `seconds`. It has no body."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    claim = Claim(key.access_key, stamp[:8], region, service, "aws4_request", "host")
    fields = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{key.access_key}/{claim.scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in fields.items())
    empty = hashlib.sha256(b"").hexdigest()
    canonical = "\n".join(("GET", canonical_path(path), query, f"host:{host}\n", "host", empty))
    to_sign = f"{ALGORITHM}\n{stamp}\n{claim.scope}\n{hashlib.sha256(canonical.encode('latin-1')).hexdigest()}"
    signature = hmac.digest(derive_key(key, claim), to_sign.encode(), "sha256").hex()
    return f"http://{host}{path}?{query}&X-Amz-Signature={signature}"
