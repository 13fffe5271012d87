"""What Lambda's operations are about: how the function is found that one is for, and what its caller must be allowed on it."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from hanabi.contracts.invocation import Cancellable
from hanabi.control.arns import LATEST
from hanabi.control.functions import Functions
from hanabi.edge.service import DOCUMENT, Call, Context, Done, Operation, Params, RequestBody, RequiredPermission
from hanabi.errors import AccessDenied

Qualified = tuple[str, str | None]  # the bare name of a function, and a qualifier
Parse = Callable[[Params], Qualified]


class FunctionTargets:
    """Makes the `Operation`s of Lambda's handlers. `action` is without its service."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._account_region = functions.account_region

    def for_function(
        self, action: str, handler: Callable[[Call, Params, str], Coroutine[Any, Any, Params]], body: RequestBody = DOCUMENT
    ) -> Operation[str]:
        """An operation on a function as a whole, by `FunctionName`."""
        return Operation(
            handler,
            lambda params: self._account_region.parse_whole(params["FunctionName"]),
            lambda name, params: [self._permissions(action, name, None, params)],
            body=body,
        )

    def for_function_arn(self, action: str, handler: Callable[[Call, Params, str], Coroutine[Any, Any, Params]]) -> Operation[str]:
        """An operation on a function as a whole, by its ARN as `Resource`."""
        return Operation(
            handler,
            lambda params: self._account_region.parse_resource(params["Resource"]),
            lambda name, params: [self._permissions(action, name, None, params)],
        )

    def for_function_or_qualifier(
        self, action: str, handler: Callable[[Call, Params, Qualified], Coroutine[Any, Any, Params]], parse: Parse | None = None
    ) -> Operation[Qualified]:
        """An operation on a function or on one of its versions or aliases, that is allowed on the function."""
        return Operation(handler, parse or self.parse, lambda target, params: [self._permissions(action, target[0], None, params)])

    def for_qualifier(
        self,
        action: str,
        handler: Callable[[Call, Params, Qualified], Coroutine[Any, Any, Params]],
        body: RequestBody = DOCUMENT,
        begin: Callable[[Call, Params, Qualified, Done], Cancellable | None] | None = None,
    ) -> Operation[Qualified]:
        """An operation on a function or on one of its versions or aliases, that is allowed on just that."""
        return Operation(handler, self.parse, lambda target, params: [self._permissions(action, *target, params)], body=body, begin=begin)

    def for_account(self, action: str, handler: Callable[[Call, Params, None], Coroutine[Any, Any, Params]]) -> Operation[None]:
        """An operation on nothing in particular."""
        return Operation(handler, lambda params: None, lambda target, params: [RequiredPermission(f"lambda:{action}", "*")])

    def for_function_and_role(
        self,
        action: str,
        handler: Callable[[Call, Params, str], Coroutine[Any, Any, Params]],
        parse: Callable[[str], str],
        body: RequestBody = DOCUMENT,
    ) -> Operation[str]:
        """An operation that may give a function its role, and tags."""

        def permissions(name: str, params: Params) -> Iterator[RequiredPermission]:
            yield self._permissions(action, name, None, params)
            if params.get("Role"):
                yield self._pass_role(params["Role"], name)
            if params.get("Tags"):
                yield self._permissions("TagResource", name, None, params)

        return Operation(handler, lambda params: parse(params["FunctionName"]), permissions, body=body)

    def _pass_role(self, arn: str, name: str) -> RequiredPermission:
        """What it takes to let a function run as a role: whoever may change a function may do what its role may."""
        if arn.split(":")[4] != self._account_region.account:
            raise AccessDenied("Cross-account pass role is not allowed.")
        context = {"iam:PassedToService": "lambda.amazonaws.com", "iam:AssociatedResourceArn": self._account_region.arn(name)}
        return RequiredPermission("iam:PassRole", arn, context)

    def parse(self, params: Params) -> Qualified:
        name, qualifier = params["FunctionName"], params.get("Qualifier")
        return self._account_region.parse(name, qualifier) if ":" in name else (name, qualifier)

    def _permissions(self, action: str, name: str, qualifier: str | None, params: Params) -> RequiredPermission:
        function = self._functions.get(name)
        context: dict[str, Any] = dict(_context(params))
        for tag, value in function.tags.items() if function else ():
            context[f"aws:ResourceTag/{tag}"] = value
        policy = function.policies.get(qualifier or LATEST, ()) if function else ()
        return RequiredPermission(f"lambda:{action}", self._account_region.arn(name, qualifier), context, policy=tuple(policy))


def _context(params: Params) -> Context:
    """The condition keys that come with an operation's parameters."""
    context: dict[str, str | tuple[str, ...]] = {}
    tags = params.get("Tags")
    if isinstance(tags, dict):
        context |= {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
    keys = tags or params.get("TagKeys")
    if keys:
        context["aws:TagKeys"] = tuple(keys)
    if params.get("AuthType") or params.get("FunctionUrlAuthType"):
        context["lambda:FunctionUrlAuthType"] = params.get("AuthType") or params["FunctionUrlAuthType"]
    if params.get("Principal"):
        context["lambda:Principal"] = params["Principal"]
    return context
