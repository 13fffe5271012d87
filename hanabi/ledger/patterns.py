"""CloudWatch Logs filter patterns for unstructured text: `ERROR`, `a b`, `"quoted phrase"`, `?a ?b`, `-a`.

Patterns for JSON, for space-delimited fields and regular expressions are refused, not ignored.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import re

from hanabi.contracts.logs import Matcher
from hanabi.ledger.log_errors import InvalidParameter

_TERM = re.compile(r'\s*(?P<sign>[-?]?)(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"]+))')
_PLAIN = re.compile(r"\w+")
_ESCAPE = re.compile(r"\\(.)")


def compile_pattern(pattern: str) -> Matcher | None:
    """Compile a pattern to a test for messages; None when every message matches. Raises `InvalidParameter`."""
    pattern = pattern.strip()
    if pattern in ("", '""'):
        return None
    if pattern[0] in "{[%":
        kind = {"{": "JSON", "[": "Space-delimited", "%": "Regular expression"}[pattern[0]]
        raise InvalidParameter(f'{kind} filter patterns are not supported. Use terms, "quoted phrases", ?optional and -excluded terms.')
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    position = 0
    while position < len(pattern):
        match = _TERM.match(pattern, position)
        if match is None:
            raise InvalidParameter(f"Invalid filter pattern: {pattern}")
        if match["quoted"] is not None:
            term = _ESCAPE.sub(r"\1", match["quoted"])
        else:
            term = match["plain"]
            if not _PLAIN.fullmatch(term):
                raise InvalidParameter(f"Invalid character(s) in term '{term}'")
        terms[match["sign"]].append(term)
        position = match.end()
    wanted, unwanted, optional = terms[""], terms["-"], terms["?"]
    if not wanted and not unwanted:
        return lambda text: any(term in text for term in optional)
    # CloudWatch Logs ignores optional terms when there are others.
    return lambda text: all(term in text for term in wanted) and not any(term in text for term in unwanted)
