"""Images of the shape of AWS's base images, and a registry that has them: as indexes of two architectures."""

from hanabi.contracts.images import RuntimeImage
from tests.unit.images.layouts import ARCHITECTURE, OCI, Image, digest, file, folder, index_of, layer
from tests.unit.images.registries import Liar

OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"
SETTINGS = {
    "Entrypoint": ["/lambda-entrypoint.sh"],
    "WorkingDir": "/var/task",
    "Env": ["LANG=en_US.UTF-8", "TZ=:/etc/localtime", "PATH=/var/lang/bin:/usr/bin", "LAMBDA_TASK_ROOT=/var/task", "OF_THE_IMAGE=1"],
}


def base_image(text: str = "one", architecture: str = ARCHITECTURE) -> Image:
    entries = [
        folder("var/task"), folder("var/runtime"), file("var/runtime/bootstrap", "#!/bin/sh\n", 0o755),
        file("lambda-entrypoint.sh", "#!/bin/sh\n", 0o755), file("text", f"{text} {architecture}"),
    ]  # fmt: skip
    return Image([layer(entries)], SETTINGS, architecture=architecture)


def serve_base_image(registry: Liar, repository: str, tag: str, text: str = "one") -> Image:
    """Let a registry have it for two architectures; returns that of this machine."""
    images = [base_image(text, OTHER), base_image(text)]
    for image in images:
        registry.serve(image, repository, tag=f"only-{image.architecture}")
    index = index_of(images)
    for name in (tag, digest(index)):
        registry.answers[f"/v2/{repository}/manifests/{name}"] = (200, {"Content-Type": OCI["index"]}, index)
    return images[1]


def text_of(image: RuntimeImage) -> str:
    return (image.root / "text").read_text()
