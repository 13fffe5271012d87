"""What AWS's validation messages show of a service that its model does not say. A service declares it, with the recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Wording:
    """Names are those of the model's shapes."""

    hides_values: bool = False  # messages say where a value is, not what it is
    hidden: frozenset[str] = frozenset()  # shapes of which alone that is so
    nullable: frozenset[str] = frozenset()  # lists whose messages do not say that members must not be null
    patterns: Mapping[str, str] = field(default_factory=dict)  # those that AWS names, of another version than the model: either will do


PLAIN = Wording()
