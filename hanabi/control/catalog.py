"""Routes of invocations: resolved once for each (function, qualifier), cached until the function changes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hanabi.contracts.functions import Concurrency, EventRules, FunctionVersion, Route
from hanabi.control.arns import LATEST
from hanabi.control.attachments import NOTHING, Attachments
from hanabi.control.containers import container_code
from hanabi.control.functions import Functions
from hanabi.control.log_settings import json_logs
from hanabi.control.model import Function, Version
from hanabi.control.runtime_management import runtime_id
from hanabi.control.tenancy import environments_max
from hanabi.errors import ResourceConflict, ResourceNotFound, SnapStartNotReady
from hanabi.quotas import ACCOUNT_CONCURRENCY


@dataclass(frozen=True, slots=True)
class WeightedRoute:
    """The route of a weighted alias."""

    main: Route
    other: Route
    weight: float  # of the other


class FunctionCatalog:
    """The `contracts.functions.Catalog` over the registry."""

    def __init__(
        self,
        functions: Functions,
        code_at: Callable[[str], Path],
        layers_at: Callable[[Sequence[str]], Path],
        snapshots: Path | None = None,
        scope: str = "",
        attachments: Attachments = NOTHING,
    ) -> None:
        self._functions = functions
        self._account_region = functions.account_region
        self._code_at = code_at  # where code is, unpacked, by its hash
        self._layers_at = layers_at  # where the layers of those hashes are, merged
        self._attachments = attachments
        self._snapshots = snapshots  # where those of versions are
        self._scope = scope  # what precedes names in the record
        self._routes: dict[str, dict[str | None, Route | WeightedRoute]] = {}
        self._concurrency: dict[str, Concurrency] = {}
        self._unreserved = ACCOUNT_CONCURRENCY
        self._retired: list[Callable[[str], None]] = []
        functions.listen(self._changed)

    def resolve(self, function: str, qualifier: str | None) -> Route:
        try:
            route = self._routes[function][qualifier]
        except KeyError:
            route = self._make(function, qualifier)
        if type(route) is WeightedRoute:
            return route.other if random.random() < route.weight else route.main
        return route  # type: ignore[return-value]  # `type() is` is the fast test, and narrows only one way

    def account_concurrency(self, scope: str = "") -> tuple[int, int]:
        return ACCOUNT_CONCURRENCY, self._unreserved

    def event_rules(self, function: str, qualifier: str | None) -> EventRules:
        found = self._functions.get(function)
        if found is None:
            return EventRules()
        arn, config = self._account_region.arn(function, qualifier or LATEST), found.event_configs.get(qualifier or LATEST)
        if config is None:
            return EventRules(arn=arn, may_recurse=found.may_recurse)
        return EventRules(config.retries, config.age_s, arn, config.on_success, config.on_failure, found.may_recurse)

    def unreserved_beside(self, name: str) -> int:
        """Return the account's concurrency less the provisioned concurrency of all other functions."""
        others = (function for function in self._functions if function.name != name and function.reserved is None)
        return self._unreserved - sum(config.requested for each in others for config in each.provisioned.values())

    def is_reserved(self, name: str) -> bool:
        """Whether a function has reserved concurrency."""
        function = self._functions.get(name)
        return function is not None and function.reserved is not None

    def on_retired(self, callback: Callable[[str], None]) -> None:
        self._retired.append(callback)

    def _changed(self, old: Function | None, new: Function | None) -> None:
        function = new or old
        assert function is not None
        self._routes.pop(function.name, None)
        self._unreserved += (old and old.reserved) or 0
        self._unreserved -= (new and new.reserved) or 0
        if new is None:
            self._concurrency.pop(function.name, None)
        else:
            self._concurrency.setdefault(
                new.name, Concurrency(self._scope + new.name, scope=self._scope, limits=self)
            ).reserved = new.reserved
        if old is not None:
            kept = {new.key(version) for version in new.running()} if new else set()
            for key in (old.key(version) for version in old.running()):
                if key not in kept:
                    for callback in self._retired:
                        callback(key)

    # --- the first time -----------------------------------------------------------------------------------------------

    def _make(self, name: str, qualifier: str | None) -> Route | WeightedRoute:
        arn = self._account_region.arn(name, qualifier)
        function = self._functions.get(name)
        if function is None:
            raise ResourceNotFound(f"Function not found: {self._account_region.arn(name, qualifier or LATEST)}")
        alias = function.aliases.get(qualifier) if qualifier else None
        route: Route | WeightedRoute
        if alias is None:
            route = self._route(function, qualifier or LATEST, arn)
        elif alias.other is None:
            route = self._route(function, alias.version, arn)
        else:
            route = WeightedRoute(self._route(function, alias.version, arn), self._route(function, alias.other, arn), alias.weight)
        self._routes.setdefault(name, {})[qualifier] = route
        return route

    def _route(self, function: Function, number: str, arn: str) -> Route:
        version = (function.serving or function.latest) if number == LATEST else function.versions.get(number)
        if version is None:
            raise ResourceNotFound(f"Function not found: {arn}")
        if version.awaits_snapshot:
            raise SnapStartNotReady(
                "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE."
            )
        if version.state != "Active":
            raise ResourceConflict(
                f"The operation cannot be performed at this time. The function is currently in the following state: {version.state}"
            )
        return Route(self.target(function, version), arn, self._concurrency[function.name])

    def target(self, function: Function, version: Version) -> FunctionVersion:
        """Make the runnable form of a version."""
        settings = version.settings
        return FunctionVersion(
            key=function.key(version),
            name=function.name,
            version=version.number,
            arn=function.arn,
            account=self._account_region.account,
            region=self._account_region.region,
            runtime=settings.runtime,
            handler=settings.handler,
            memory_mb=settings.memory_mb,
            timeout_s=settings.timeout_s,
            tmp_mb=settings.tmp_mb,
            environment=settings.environment or {},
            role=settings.role,
            code=None if version.code.image else self._code_at(version.code.sha256),
            log_group=settings.log_group,
            record_name=self._scope + function.name,
            record_group=self._scope + settings.log_group,
            opt=self._layers_at(settings.layer_hashes) if settings.layers else None,
            traced=settings.traced,
            networks=self._attachments.networks(settings),
            file_systems=self._attachments.mounts(settings),
            json_logs=json_logs(settings),
            tenant_environments_max=environments_max(settings, function.reserved),
            runtime_version=runtime_id(version.runtime_pin),
            snapshot=self._snapshots / version.snapshot if self._snapshots and version.snapshot else None,
            container=container_code(version.code.image, version.code.sha256, settings.image_config) if version.code.image else None,
        )
