"""Page tokens of CloudWatch Logs: the last name of a page of names, or the position that a page of events ends at."""

import base64

from hanabi.contracts.logs import EventPosition
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.search import decode_position, encode_position

_SEQUENCE_DIGITS = 56


def write_name(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def read_name(token: str) -> str:
    """Raises `InvalidParameter`."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidParameter("The specified nextToken is invalid.") from None


def write_position(position: EventPosition, backward: bool) -> str:
    return f"{'b' if backward else 'f'}/{encode_position(position)}/s"


def read_position(token: str) -> tuple[bool, EventPosition]:
    """Return (backward, position). Raises `InvalidParameter`."""
    parts = token.split("/")
    if len(parts) != 3 or parts[0] not in ("f", "b") or parts[2] != "s":
        raise InvalidParameter("The specified nextToken is invalid.")
    return parts[0] == "b", decode_position(parts[1])


def sequence_token(stream_id: int, moment_ms: int) -> str:
    """Make a sequence token, which nobody has needed since 2023: 56 digits."""
    return f"49{moment_ms:020d}{stream_id:034d}"[:_SEQUENCE_DIGITS]
