"""The code signing configurations of one account in one region, over the registry."""

import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.control.code_signing.model import WARN, CodeSigningConfig, config_document, read_config
from hanabi.control.registry import Kind, Registry
from hanabi.control.tags import check_tags
from hanabi.errors import CodeSigningConfigGone, CodeSigningConfigNotFound, ResourceConflict

_LETTERS = string.ascii_lowercase + string.digits


class CodeSigningConfigs(Registry[CodeSigningConfig]):
    """The configurations, by id. A document is `code-signing-configs/<id>`."""

    def __init__(self, store: Store, account_region: AccountRegion, clock: Clock, health: Health | None = None) -> None:
        kind = Kind("code signing configuration", "code-signing-configs/", read_config, config_document)
        super().__init__(store, kind, clock, health)
        self.account_region = account_region
        self._clock = clock

    def arn(self, id: str) -> str:
        place = self.account_region
        return f"arn:{place.partition}:lambda:{place.region}:{place.account}:code-signing-config:{id}"

    def parse(self, arn: str) -> str:
        """Return the id of an ARN, which the API's model has checked; empty: it is of another account or region."""
        prefix, _, id = arn.rpartition(":")
        return id if f"{prefix}:{id}" == self.arn(id) else ""

    def find(self, arn: str) -> CodeSigningConfig:
        """Return a configuration. Raises `CodeSigningConfigGone`, as the operations on configurations answer."""
        config = self.get(self.parse(arn))
        if config is None:
            raise CodeSigningConfigGone(arn)
        return config

    def require(self, arn: str) -> CodeSigningConfig:
        """Return a configuration. Raises `CodeSigningConfigNotFound`, as the operations on functions answer."""
        config = self.get(self.parse(arn))
        if config is None:
            raise CodeSigningConfigNotFound(
                f"The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
            )
        return config

    async def create(self, params: Mapping[str, Any]) -> CodeSigningConfig:
        """Create a configuration. `params` are CreateCodeSigningConfig's."""
        id = f"csc-{''.join(secrets.choice(_LETTERS) for _ in range(17))}"
        config = CodeSigningConfig(
            id=id,
            publishers=_publishers(params),
            modified_ms=self._now_ms(),
            description=params.get("Description") or "",
            policy=_policy(params, WARN),
            tags=check_tags(params.get("Tags") or {}),
        )
        await self.commit(id, lambda old: config)
        return config

    async def change(self, arn: str, params: Mapping[str, Any]) -> CodeSigningConfig:
        """Change a configuration. `params` are UpdateCodeSigningConfig's; what is not given stays."""

        def apply(old: CodeSigningConfig) -> CodeSigningConfig:
            return replace(
                old,
                publishers=_publishers(params) if params.get("AllowedPublishers") else old.publishers,
                description=old.description if params.get("Description") is None else params["Description"],
                policy=_policy(params, old.policy),
                modified_ms=self._now_ms(),
            )

        return await self._apply(arn, apply)

    async def change_tags(self, arn: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
        await self._apply(arn, lambda old: replace(old, tags=change(old.tags)))

    async def delete(self, arn: str, users: Callable[[], Iterable[str]]) -> None:
        """Delete a configuration that no function has. `users` lists the ARNs of those that have it."""

        def remove(old: CodeSigningConfig | None) -> None:
            if old is None:
                raise CodeSigningConfigGone(arn)
            if any(True for _ in users()):
                raise ResourceConflict(f"The code signing configuration {arn} cannot be deleted: functions use it.")

        self.find(arn)
        await self.commit(self.parse(arn), remove)

    async def _apply(self, arn: str, change: Callable[[CodeSigningConfig], CodeSigningConfig]) -> CodeSigningConfig:
        self.find(arn)

        def apply(old: CodeSigningConfig | None) -> CodeSigningConfig:
            if old is None:
                raise CodeSigningConfigGone(arn)
            return change(old)

        config = await self.commit(self.parse(arn), apply)
        assert config is not None
        return config

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _publishers(params: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(params["AllowedPublishers"]["SigningProfileVersionArns"])


def _policy(params: Mapping[str, Any], otherwise: str) -> str:
    return (params.get("CodeSigningPolicies") or {}).get("UntrustedArtifactOnDeployment") or otherwise
