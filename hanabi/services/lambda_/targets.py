"""Targets of Lambda's operations: how the function is found, and the permissions needed on it."""

from collections.abc import Callable, Iterator
from typing import Any

from hanabi.contracts.invocation import Cancellable
from hanabi.control.arns import LATEST
from hanabi.control.event_configs import destination_functions
from hanabi.control.functions import Functions
from hanabi.control.layers.layer_names import parse_arn
from hanabi.control.layers.layers import Layers
from hanabi.control.urls import check_qualifier
from hanabi.edge.service import DOCUMENT, Call, Context, Done, Handler, Operation, Params, RequestBody, RequiredPermission
from hanabi.errors import AccessDenied
from hanabi.services.lambda_.layer_targets import version_permission

Qualified = tuple[str, str | None]  # the bare name of a function, and a qualifier
Parse = Callable[[Params], Qualified]


class FunctionTargets:
    """Makes the `Operation`s of Lambda's handlers. `action` is without the service prefix. Functions are looked up at each call only."""

    def __init__(self, functions: Functions, layers: Layers) -> None:
        self._functions = functions
        self._layers = layers
        self._account_region = functions.account_region

    def function(self, action: str, handler: Handler[str], body: RequestBody = DOCUMENT) -> Operation[str]:
        """On a function as a whole, by `FunctionName`."""

        def resolve(params: Params) -> str:
            return self._account_region.parse_whole(params["FunctionName"])

        return self._on_function(action, handler, resolve, body)

    def function_or_qualifier(self, action: str, handler: Handler[Qualified]) -> Operation[Qualified]:
        """On a function or on one of its versions or aliases, allowed on the function."""
        return self._allowed_on_function(action, handler, self._parse)

    def event_config(self, action: str, handler: Handler[Qualified]) -> Operation[Qualified]:
        """On a function or on one of its versions or aliases, and on the functions that get its results: whoever names them makes them run.

        On AWS the function's role must be allowed to invoke those; here it is the caller.
        """

        def permissions(target: Qualified, params: Params) -> Iterator[RequiredPermission]:
            yield self.permission(action, target[0], None, params)
            for name, qualifier in destination_functions(self._account_region, params):
                yield self.permission("InvokeFunction", name, qualifier, {})

        return Operation(handler, self._parse, permissions, action=f"lambda:{action}", resource="function:NAME, destinations")

    def function_or_alias(self, action: str, handler: Handler[Qualified]) -> Operation[Qualified]:
        """On a function or on one of its aliases, allowed on the function."""
        return self._allowed_on_function(action, handler, self._parse_alias)

    def qualifier(
        self,
        action: str,
        handler: Handler[Qualified],
        body: RequestBody = DOCUMENT,
        begin: Callable[[Call, Params, Qualified, Done], Cancellable | None] | None = None,
    ) -> Operation[Qualified]:
        """On a function or on one of its versions or aliases, allowed on just that."""
        return Operation(
            handler,
            self._parse,
            lambda target, params: [self.permission(action, *target, params)],
            action=f"lambda:{action}",
            resource="function:NAME[:QUALIFIER]",
            body=body,
            begin=begin,
        )

    def account(self, action: str, handler: Handler[None]) -> Operation[None]:
        """On the account, without a resource."""
        return Operation(
            handler,
            lambda params: None,
            lambda target, params: [RequiredPermission(f"lambda:{action}", "*")],
            action=f"lambda:{action}",
            resource="*",
        )

    def new_function(self, action: str, handler: Handler[str], body: RequestBody) -> Operation[str]:
        """On a function that may not exist yet, with its role and tags."""
        return self._with_role(action, handler, lambda params: self._account_region.parse_new(params["FunctionName"]), body)

    def function_configuration(self, action: str, handler: Handler[str]) -> Operation[str]:
        """On a function whose role may change."""
        return self._with_role(action, handler, lambda params: self._account_region.parse_whole(params["FunctionName"]), DOCUMENT)

    def _on_function(self, action: str, handler: Handler[str], resolve: Callable[[Params], str], body: RequestBody) -> Operation[str]:
        return Operation(
            handler,
            resolve,
            lambda name, params: [self.permission(action, name, None, params)],
            action=f"lambda:{action}",
            resource="function:NAME",
            body=body,
        )

    def _allowed_on_function(self, action: str, handler: Handler[Qualified], resolve: Parse) -> Operation[Qualified]:
        return Operation(
            handler,
            resolve,
            lambda target, params: [self.permission(action, target[0], None, params)],
            action=f"lambda:{action}",
            resource="function:NAME",
        )

    def _with_role(self, action: str, handler: Handler[str], resolve: Callable[[Params], str], body: RequestBody) -> Operation[str]:
        def permissions(name: str, params: Params) -> Iterator[RequiredPermission]:
            yield self.permission(action, name, None, params)
            if params.get("Role"):
                yield self._pass_role(params["Role"], name)
            if params.get("Tags"):
                yield self.permission("TagResource", name, None, params)
            for arn in params.get("Layers") or ():
                yield version_permission(self._layers, "GetLayerVersion", parse_arn(arn))

        return Operation(handler, resolve, permissions, action=f"lambda:{action}", resource="function:NAME, role, layers", body=body)

    def _pass_role(self, arn: str, name: str) -> RequiredPermission:
        """Return the permission to pass a role: a caller that may change a function can do whatever its role may."""
        if arn.split(":")[4] != self._account_region.account:
            raise AccessDenied("Cross-account pass role is not allowed.")
        context = {"iam:PassedToService": "lambda.amazonaws.com", "iam:AssociatedResourceArn": self._account_region.arn(name)}
        return RequiredPermission("iam:PassRole", arn, context)

    def _parse(self, params: Params) -> Qualified:
        name, qualifier = params["FunctionName"], params.get("Qualifier")
        return self._account_region.parse(name, qualifier) if ":" in name else (name, qualifier)

    def _parse_alias(self, params: Params) -> Qualified:
        check_qualifier(params.get("Qualifier"))
        name, qualifier = self._account_region.parse(params["FunctionName"], params.get("Qualifier"))
        check_qualifier(qualifier)
        return name, qualifier

    def permission(self, action: str, name: str, qualifier: str | None, params: Params) -> RequiredPermission:
        function = self._functions.get(name)
        context: dict[str, Any] = dict(context_of(params))
        for tag, value in function.tags.items() if function else ():
            context[f"aws:ResourceTag/{tag}"] = value
        policy = function.policies.get(qualifier or LATEST, ()) if function else ()
        return RequiredPermission(f"lambda:{action}", self._account_region.arn(name, qualifier), context, policy=tuple(policy))


def context_of(params: Params) -> Context:
    """Make the condition keys of an operation's parameters."""
    context: dict[str, str | tuple[str, ...]] = {}
    tags = params.get("Tags")
    if isinstance(tags, dict):
        context |= {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
    keys = tags or params.get("TagKeys")
    if keys:
        context["aws:TagKeys"] = tuple(keys)
    if params.get("AuthType") or params.get("FunctionUrlAuthType"):
        context["lambda:FunctionUrlAuthType"] = params.get("AuthType") or params["FunctionUrlAuthType"]
    if params.get("Layers"):
        context["lambda:Layer"] = tuple(params["Layers"])
    if params.get("CodeSigningConfigArn"):
        context["lambda:CodeSigningConfigArn"] = params["CodeSigningConfigArn"]
    if params.get("TenantId"):
        context["lambda:TenantId"] = params["TenantId"]
    if params.get("Principal"):
        context["lambda:Principal"] = params["Principal"]
    return context
