"""Targets of CloudWatch Logs' operations: how the group or stream is found, and the permissions needed on it."""

import re
from collections.abc import Callable, Iterator, Sequence

from hanabi.control.arns import AccountRegion
from hanabi.edge.service import DOCUMENT, Call, Handler, Operation, Params, RequestBody, RequiredPermission
from hanabi.ledger.log_errors import InvalidParameter, MutuallyExclusive, NoSuchGroup

Stream = tuple[str, str]  # the names of a group and of a stream in it
GROUP = "log-group:NAME"  # what operations are about, for people
_NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}", re.ASCII)
_ARN = re.compile(r"(?P<place>arn:[^:]*:logs:[^:]*:[^:]*):log-group:(?P<name>[^:*]+)(?::\*)?", re.ASCII)


class LogTargets:
    """Makes the `Operation`s of handlers. `action` is without the service prefix."""

    def __init__(self, account_region: AccountRegion) -> None:
        self._arn_prefix = f"arn:{account_region.partition}:logs:{account_region.region}:{account_region.account}"

    def group(self, action: str, handler: Handler[str]) -> Operation[str]:
        """Make an operation on a group by `logGroupName`."""

        def permissions(group: str, params: Params) -> Iterator[RequiredPermission]:
            yield self._permissions(action, group, "")
            if params.get("tags"):
                yield self._permissions("TagResource", group, "")

        return Operation(handler, lambda params: _check_name(params["logGroupName"]), permissions, action=f"logs:{action}", resource=GROUP)

    def identified(self, action: str, handler: Handler[str]) -> Operation[str]:
        """Make an operation on a group by `logGroupName` or `logGroupIdentifier`, which may be an ARN."""
        return self._on_group(action, handler, self._identify)

    def tagged(self, action: str, handler: Handler[str]) -> Operation[str]:
        """Make an operation on a group by its ARN as `resourceArn`."""
        return self._on_group(action, handler, lambda params: self._read_arn(params["resourceArn"]))

    def stream(self, action: str, handler: Handler[Stream], body: RequestBody = DOCUMENT) -> Operation[Stream]:
        """Make an operation on one stream."""
        return Operation(
            handler,
            lambda params: (self._identify(params), params["logStreamName"]),
            lambda target, params: [self._permissions(action, *target)],
            action=f"logs:{action}",
            resource=f"{GROUP}:log-stream:NAME",
            body=body,
        )

    def account(self, action: str, handler: Handler[None]) -> Operation[None]:
        """Make an operation on the account, without a group."""
        return Operation(
            handler,
            lambda params: None,
            lambda target, params: [self._permissions(action, "", "")],
            action=f"logs:{action}",
            resource="log-group:",
        )

    def listed(self, action: str, handler: Handler[Sequence[str]]) -> Operation[Sequence[str]]:
        """Make an operation on the account, perhaps on the groups of it that are `logGroupIdentifiers`."""
        return Operation(
            handler,
            lambda params: sorted({self._name_of(identifier) for identifier in params.get("logGroupIdentifiers") or ()}),
            lambda groups, params: [self._permissions(action, "", "")],
            action=f"logs:{action}",
            resource="log-group:",
        )

    def optional(self, action: str, handler: Handler[str]) -> Operation[str]:
        """Make an operation on a group by `logGroupName`, or on the account: its name is empty then."""
        return self._on_group(action, handler, lambda params: _check_name(params["logGroupName"]) if params.get("logGroupName") else "")

    def several(self, action: str, handler: Handler[Sequence[str]]) -> Operation[Sequence[str]]:
        """Make an operation on the groups whose ARNs are `logGroupIdentifiers`."""
        return Operation(
            handler,
            lambda params: list(dict.fromkeys(map(self._read_arn, params["logGroupIdentifiers"]))),
            lambda groups, params: [self._permissions(action, group, "") for group in groups],
            action=f"logs:{action}",
            resource=GROUP,
        )

    def nothing(self, action: str, handler: Handler[None]) -> Operation[None]:
        """Make an operation that touches nothing."""
        return Operation(
            handler,
            lambda params: None,
            lambda target, params: [RequiredPermission(f"logs:{action}", "*")],
            action=f"logs:{action}",
            resource="*",
        )

    def _on_group(self, action: str, handler: Handler[str], resolve: Callable[[Params], str]) -> Operation[str]:
        return Operation(
            handler,
            resolve,
            lambda group, params: [self._permissions(action, group, "")],
            action=f"logs:{action}",
            resource=GROUP,
        )

    def _permissions(self, action: str, group: str, stream: str) -> RequiredPermission:
        """Return the permissions on a group. Policies name a group by its ARN, or with `:*` after it, for its streams too."""
        arn = f"{self._arn_prefix}:log-group:{group}"
        return RequiredPermission(f"logs:{action}", f"{arn}:log-stream:{stream}", also=() if stream else (arn,))

    def _identify(self, params: Params) -> str:
        name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
        if name and identifier:
            raise MutuallyExclusive("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
        if not name and not identifier:
            raise InvalidParameter("Exactly one of logGroupName and logGroupIdentifier must be given.")
        if identifier and identifier.startswith("arn:"):
            return self._read_arn(identifier)
        return _check_name(str(name or identifier))

    def _name_of(self, identifier: str) -> str:
        """Return the name in a group's ARN, or a name. An ARN of another account or region stays one: no group is named so."""
        return identifier.removeprefix(f"{self._arn_prefix}:log-group:")

    def _read_arn(self, arn: str) -> str:
        """Return the name in a group's ARN. A group of another partition, region or account is not found here."""
        match = _ARN.fullmatch(arn)
        if match is None or match["place"] != self._arn_prefix:
            raise NoSuchGroup
        return _check_name(match["name"])


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"The specified log group name is invalid: {name}")
    return name


def group_arn(call: Call, group: str) -> str:
    at = call.account_region
    return f"arn:{at.partition}:logs:{at.region}:{at.account}:log-group:{group}"
