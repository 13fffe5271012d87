"""Targets of operations on resources by their ARN: code signing configurations, and all that has tags."""

from collections.abc import Iterator

from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.edge.service import Handler, Operation, Params, RequiredPermission
from hanabi.errors import ResourceNotFound
from hanabi.services.lambda_.tags import Kinds, kind_of
from hanabi.services.lambda_.targets import FunctionTargets, Qualified, context_of


class ResourceTargets:
    """Makes the `Operation`s of handlers that get an ARN in canonical form. `action` is without the service prefix."""

    def __init__(self, functions: FunctionTargets, configs: CodeSigningConfigs, kinds: Kinds) -> None:
        self._functions = functions
        self._account_region = configs.account_region
        self._configs = configs
        self._kinds = kinds

    def code_signing(self, action: str, handler: Handler[str]) -> Operation[str]:
        """On a code signing configuration, by `CodeSigningConfigArn`. One that is not there is said to be by the handler."""
        return Operation(
            handler,
            lambda params: str(params["CodeSigningConfigArn"]),
            lambda arn, params: [self._permission(action, "code-signing-config", self._canonical(arn), params)],
            action=f"lambda:{action}",
            resource="code-signing-config:ID",
        )

    def function_and_code_signing(self, action: str, handler: Handler[tuple[str, str]]) -> Operation[tuple[str, str]]:
        """On a function that gets a code signing configuration: (its name, the configuration's ARN)."""

        def permissions(target: tuple[str, str], params: Params) -> Iterator[RequiredPermission]:
            name, arn = target
            yield self._functions.permission(action, name, None, params)
            yield self._permission(action, "code-signing-config", self._canonical(arn), params)

        return Operation(
            handler,
            lambda params: (self._account_region.parse_whole(params["FunctionName"]), str(params["CodeSigningConfigArn"])),
            permissions,
            action=f"lambda:{action}",
            resource="function:NAME, code-signing-config:ID",
        )

    def policy(self, action: str, handler: Handler[Qualified]) -> Operation[Qualified]:
        """On a function, a version or an alias, by its ARN as `ResourceArn`."""

        def resolve(params: Params) -> Qualified:
            arn: str = params["ResourceArn"]
            if ":function:" not in arn:
                raise ResourceNotFound("The resource you requested does not exist.")
            return self._account_region.parse(arn)

        return Operation(
            handler,
            resolve,
            lambda target, params: [self._functions.permission(action, *target, params)],
            action=f"lambda:{action}",
            resource="function:NAME[:QUALIFIER]",
        )

    def tagged(self, action: str, handler: Handler[str]) -> Operation[str]:
        """On whatever has tags, by its ARN as `Resource`."""
        return Operation(
            handler,
            self._resolve_tagged,
            lambda arn, params: [self._tag_permission(action, arn, params)],
            action=f"lambda:{action}",
            resource="function:NAME, code-signing-config:ID, ...",
        )

    def _resolve_tagged(self, params: Params) -> str:
        arn: str = params["Resource"]
        if kind_of(arn) == "function":
            return self._account_region.arn(self._account_region.parse_resource(arn))
        place = self._account_region
        if not arn.startswith(f"arn:{place.partition}:lambda:{place.region}:{place.account}:") or kind_of(arn) not in self._kinds:
            raise ResourceNotFound(f"Resource not found: {arn}")
        return arn

    def _tag_permission(self, action: str, arn: str, params: Params) -> RequiredPermission:
        if kind_of(arn) == "function":
            return self._functions.permission(action, self._account_region.parse_resource(arn), None, params)
        return self._permission(action, kind_of(arn), arn, params)

    def _permission(self, action: str, kind: str, arn: str, params: Params) -> RequiredPermission:
        context = dict(context_of(params))
        try:
            tags = self._kinds[kind].tags_of(arn)
        except ResourceNotFound:
            tags = {}
        context |= {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}
        return RequiredPermission(f"lambda:{action}", arn, context)

    def _canonical(self, arn: str) -> str:
        """Return the ARN as it would be here: the handler finds no other."""
        return self._configs.arn(arn.rpartition(":")[2])
