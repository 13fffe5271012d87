"""Where runtimes come from, as the owner of a node chose it: AWS's base images, packages of distributions, or whichever is to be had."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

AUTO, AWS, DISTRIBUTION = "auto", "aws", "distribution"
CHOICES = (AUTO, AWS, DISTRIBUTION)
REFUSE, PENDING = "refuse", "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSources:
    """The choice. In `auto` it is what is there already, else AWS's image where it can be reached, else packages."""

    choice: str = AUTO  # one of CHOICES
    mirror: str = ""  # in place of AWS's registry: HOST[:PORT][/PREFIX]
    layouts: Path | None = None  # base images on disk: see `base_image_store`
    insecure_registries: tuple[str, ...] = ()  # without TLS
    missing: str = REFUSE  # what becomes of a function whose runtime is not to be had: REFUSE, or PENDING, so that it is stored
    substitutes: Mapping[str, str] = field(default_factory=dict)  # by runtime without a root: the one that stands in for it

    def laxer(self) -> list[str]:
        """Say what of it is laxer than AWS, for people."""
        said = [f"functions of {runtime} run on {other} (--runtime-substitute)" for runtime, other in self.substitutes.items()]
        return [
            *said,
            *(
                ["functions whose runtime is not to be had are stored, and stay Pending (--runtimes-missing pending)"]
                if self.missing == PENDING
                else []
            ),
        ]
