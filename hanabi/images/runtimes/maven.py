"""Archives of Maven repositories, fetched by the user's own `mvn` (so from the mirrors of its settings), each checked by SHA-256.

A lock file has lines `GROUP:ARTIFACT:VERSION[:CLASSIFIER] SHA256`.
"""

from pathlib import Path
from xml.sax.saxutils import escape

from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.builders.programs import require_program, run

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>hanabi</groupId><artifactId>archives</artifactId><version>1</version><dependencies>{}</dependencies></project>
"""


def fetch_archives(lock_file: Path, target: Path, lock: int, only: str = "") -> list[Path]:
    """Fetch what a lock file names, of it those whose classifier is `only`, into `target`. Raises `ImageError`."""
    require_program("mvn", "maven")
    wanted = [(tuple(coordinates.split(":")), sha256) for coordinates, sha256 in map(str.split, lock_file.read_text().splitlines())]
    wanted = [(parts, sha256) for parts, sha256 in wanted if not only or parts[3:] == (only,)]
    if not wanted:
        raise ImageError(f"{lock_file.stem} is not to be had for {only}", "unsupported")
    target.mkdir(parents=True)
    pom = target / "pom.xml"
    pom.write_text(_POM.format("".join(_dependency(parts) for parts, _ in wanted)))
    goal = ("dependency:copy-dependencies", "-DexcludeTransitive=true", f"-DoutputDirectory={target}")
    run(["mvn", "--batch-mode", "--quiet", "--file", pom, *goal], lock=lock)
    pom.unlink()
    found = []
    for parts, sha256 in wanted:
        path = target / f"{'-'.join(parts[1:])}.jar"
        if not path.is_file() or digest_file(path) != sha256:
            raise ImageError(f"{':'.join(parts)} was not had, or is another one than it was: its SHA-256 is not {sha256}")
        found.append(path)
    return found


def _dependency(parts: tuple[str, ...]) -> str:
    named = zip(("groupId", "artifactId", "version", "classifier"), parts, strict=False)
    return f"<dependency>{''.join(f'<{name}>{escape(value)}</{name}>' for name, value in named)}</dependency>"
