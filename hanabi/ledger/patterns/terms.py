"""Filter patterns of terms, for any text: `ERROR`, `a b`, `"quoted phrase"`, `?a ?b`, `-a`."""

from hanabi.contracts.logs import Matcher
from hanabi.ledger.patterns.scanner import Scanner


def compile_terms(pattern: str) -> Matcher | None:
    """Compile a pattern; None when every message matches. Raises `InvalidPattern`."""
    scanner = Scanner(pattern)
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    scanner.skip_spaces()
    while scanner.next:
        sign = scanner.next if scanner.next in ("-", "?") else ""
        scanner.position += len(sign)
        is_quoted = scanner.next == '"'
        term = scanner.quoted() if is_quoted else scanner.word()
        if not is_quoted and (not term or scanner.next in ("-", "?")):
            raise scanner.bad_characters()
        terms[sign].append(term)
        scanner.skip_spaces()
    wanted = [term for term in terms[""] if term.strip()]  # `" "` is in every event
    unwanted, optional = terms["-"], terms["?"]
    if terms[""] or unwanted:  # then optional terms are ignored
        if not wanted and not unwanted:
            return None
        return lambda text: all(term in text for term in wanted) and not any(term in text for term in unwanted)
    return lambda text: any(term in text for term in optional)
