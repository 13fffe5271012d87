"""Java roots: a JDK's runtime of Debian's, AWS's runtime interface client beside it, and what Debian's scripts would have made."""

from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.programs import run_in_root
from hanabi.images.runtimes.maven import fetch_archives
from hanabi.images.runtimes.recipes import LOCKS

_CERTIFICATES = (
    'mkdir -p /etc/ssl/certs/java; for file in /etc/ssl/certs/*.pem; do echo "+$file"; done | '
    '"$0" -Xmx64m -jar /usr/share/ca-certificates-java/ca-certificates-java.jar -storepass changeit'
)


def fetch_client(target: Path, lock: int) -> None:
    """Fetch the client's archives. This needs no root, so it may run while one is made. Raises `ImageError`."""
    fetch_archives(LOCKS / "java-ric.txt", target, lock)


def add_java(root: Path, version: str, fetched: Path, lock: int) -> None:
    """Put Java into /var/lang, with the client; make its certificates and its shared archive of classes. Raises `ImageError`."""
    homes = sorted((root / "usr/lib/jvm").glob(f"java-{version}-openjdk-*"))
    if not homes:
        raise ImageError(f"the packages have no Java {version}")
    home = f"/{homes[0].relative_to(root)}"
    lang = root / "var/lang"
    program = f"{home}/bin/java" if (homes[0] / "bin/java").exists() else f"{home}/jre/bin/java"
    (lang / "bin/java").symlink_to(program)
    fetched.rename(lang / "lib/lambda")
    run_in_root(root, ["sh", "-c", _CERTIFICATES, program], lock=lock, proc=True)
    if version != "8":
        run_in_root(root, [program, "-XX:+UseSerialGC", "-Xshare:dump"], lock=lock, proc=True)
