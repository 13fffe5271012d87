"""Functions that are container images: their settings, and Lambda's errors for an image that cannot be pulled.

Wording as recorded from AWS, followed by Hanabi's own detail. The package type of a function never changes.
"""

import json
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

from hanabi.contracts.functions import ContainerCode
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import AccessDenied, ApiError, ImageError, InvalidParameterValue
from hanabi.quotas import IMAGE_CONFIG_BYTES

IMAGE, ZIP = "Image", "Zip"


class PinnedImage(Protocol):
    @property
    def image(self) -> str: ...  # where it is, by digest
    @property
    def digest(self) -> str: ...  # of the manifest, hexadecimal


class Containers(Protocol):
    async def resolve(self, uri: str) -> PinnedImage:
        """Resolve an ImageUri to a digest now. Raises `ImageError`."""

    async def ensure(self, image: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        """Return its root, pulled if missing. Raises `ImageError`."""

    async def find_missing(self, images: Set[str]) -> set[str]:
        """Return the missing ones of these images."""


def check_package(params: Mapping[str, Any], package: str) -> None:
    """Refuse parameters that do not fit the package type. `params` are of CreateFunction or UpdateFunctionConfiguration."""
    if package == IMAGE:
        if params.get("Handler") or params.get("Runtime") or params.get("Layers"):
            raise InvalidParameterValue("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
    elif any((params.get("ImageConfig") or {}).values()):
        raise InvalidParameterValue("Please don't provide ImageConfig when the intended function PackageType is Zip.")


def check_source(code: Mapping[str, Any], package: str) -> None:
    """As `check_package`, for the code's source; `code` is of CreateFunction or UpdateFunctionCode."""
    if package == IMAGE:
        if not code.get("ImageUri") or code.get("ZipFile"):
            raise InvalidParameterValue("Please provide ImageUri when updating a function with packageType Image.")
    elif code.get("ImageUri"):
        raise InvalidParameterValue("Please don't provide ImageUri when updating a function with packageType Zip.")


def check_image_config(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an ImageConfig as stored; None for an empty one, which restores the image's own settings."""
    kept = {member: value for member, value in config.items() if value}
    words = [*kept.get("EntryPoint", ()), *kept.get("Command", ()), kept.get("WorkingDirectory", "")]
    for word in words:
        if "\0" in word or any("\ud800" <= character <= "\udfff" for character in word):
            raise InvalidParameterValue("Value at 'imageConfig' has characters that the command of a process cannot hold")
    if len(json.dumps(kept, ensure_ascii=False).encode()) > IMAGE_CONFIG_BYTES:
        raise InvalidParameterValue(f"ImageConfig must be smaller than {IMAGE_CONFIG_BYTES} bytes")
    return kept or None


def container_code(image: str, digest: str, config: Mapping[str, Any] | None) -> ContainerCode:
    config = config or {}
    return ContainerCode(
        image=image,
        digest=digest,
        entry_point=tuple(config["EntryPoint"]) if "EntryPoint" in config else None,
        command=tuple(config["Command"]) if "Command" in config else None,
        working_directory=config.get("WorkingDirectory"),
    )


def refusal(uri: str, error: ImageError) -> ApiError:
    """Make the error of CreateFunction and UpdateFunctionCode for an image that is not found."""
    match error.kind:
        case "malformed":
            return InvalidParameterValue(f"Source image {uri} is not valid. Provide a valid source image. ({error})")
        case "missing":
            return InvalidParameterValue(f"Source image {uri} does not exist. Provide a valid source image. ({error})")
        case "denied":
            return AccessDenied(f"Lambda does not have permission to access the ECR image. Check the ECR permissions. ({error})")
        case "unsupported" | "invalid":
            return InvalidParameterValue(
                f"The image manifest, config or layer media type for the source image {uri} is not supported. ({error})"
            )
    return InvalidParameterValue(f"Source image {uri} cannot be had now: {error}")


def failure(error: ImageError) -> tuple[str, str]:
    """Return (StateReasonCode, StateReason) of a function whose image cannot be pulled."""
    match error.kind:
        case "missing":
            return "ImageDeleted", f"The function is trying to use a deleted image. ({error})"
        case "denied":
            return "ImageAccessDenied", f"The function does not have permission to access the specified image. ({error})"
        case "unavailable":
            return "InternalError", f"The image cannot be had now: {error}"
    return "InvalidImage", f"Lambda cannot initialize the provided container image. Verify the image. ({error})"
