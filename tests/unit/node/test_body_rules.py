"""The HTTP server takes small bodies without asking for a rule: so each rule must allow as much."""

from hanabi.edge.service import DOCUMENT, DOCUMENT_BYTES, RequestBody
from hanabi.frontends.function_urls.handler import BODY_BYTES
from hanabi.http.limits import ALWAYS_BYTES
from hanabi.quotas import RESPONSE_PAYLOAD_BYTES
from hanabi.services.lambda_ import bodies, code_upload


def test_every_rule_allows_what_is_always_taken() -> None:
    operations = [DOCUMENT, *(body for body in vars(bodies).values() if isinstance(body, RequestBody))]
    assert len(operations) > 3
    limits = [DOCUMENT_BYTES, BODY_BYTES, RESPONSE_PAYLOAD_BYTES, code_upload.LIMIT_BYTES, *(body.limit_bytes for body in operations)]
    assert min(limits) >= ALWAYS_BYTES
