"""Log groups: made, listed, described and deleted; their retention and their tags."""

from collections.abc import Iterable, Sequence
from typing import Any

from hanabi.contracts.logs import LogGroup, Logs
from hanabi.edge.service import Call
from hanabi.ledger.log_errors import InvalidParameter, TooManyTags
from hanabi.quotas import LOG_GROUP_TAGS_MAX, LOG_RETENTION_DAYS
from hanabi.services.logs.targets import group_arn
from hanabi.services.logs.tokens import read_name, write_name

RESERVED = "aws/"  # how no name begins, in whatever case
_ONLY = {"kmsKeyId": None, "logGroupClass": "STANDARD", "deletionProtectionEnabled": False}
_UNINDEXED = ("dataSources", "fieldIndexNames")  # no group has any


class GroupOperations:
    def __init__(self, store: Logs) -> None:
        self._store = store

    async def create(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if group.lower().startswith(RESERVED):
            raise InvalidParameter("Log groups starting with AWS/ are reserved for AWS.")
        for member, only in _ONLY.items():
            if params.get(member, only) != only:
                raise InvalidParameter(f"{member} is not supported")
        tags = dict(params.get("tags") or {})
        _check_tags(tags)
        await self._store.create_group(group, tags)
        return {}

    async def delete(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.delete_group(group)
        return {}

    async def describe(self, call: Call, params: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        prefix, pattern = params.get("logGroupNamePrefix") or "", params.get("logGroupNamePattern") or ""
        if prefix and pattern:
            raise InvalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        if names and (prefix or pattern or "limit" in params or params.get("nextToken")):
            raise InvalidParameter("LogGroup identifiers cannot be combined with a prefix, a pattern, a limit or a nextToken.")
        if not _is_asked_for(call, params):
            return {"logGroups": []}
        if names:
            named = [group for name in names for group in await self._store.groups(prefix=name, limit=1) if group.name == name]
            return {"logGroups": [describe_group(call, group) for group in named]}
        limit = params.get("limit") or 50
        after = read_name(params["nextToken"]) if params.get("nextToken") else ""
        groups = await self._store.groups(prefix=prefix, pattern=pattern, after=after, limit=limit + 1)
        return _page([describe_group(call, group, by_pattern=bool(pattern)) for group in groups], limit)

    async def list(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        """ListLogGroups. A pattern is up to five parts of names, any of which does; after `^` one is a beginning."""
        if not _is_asked_for(call, params) or any(params.get(each) for each in _UNINDEXED):
            return {"logGroups": []}
        parts = (params.get("logGroupNamePattern") or "^").split("|")
        limit = params.get("limit") or 50
        after = read_name(params["nextToken"]) if params.get("nextToken") else ""
        found: list[LogGroup] = []
        while len(found) <= limit:
            groups = await self._store.groups(after=after, limit=1000)
            found += [group for group in groups if _is_named(group.name, parts) and _is_tagged(group, params.get("logGroupTags") or [])]
            if len(groups) < 1000:
                break
            after = groups[-1].name
        summaries = [
            {"logGroupName": group.name, "logGroupArn": group_arn(call, group.name), "logGroupClass": "STANDARD"}
            for group in found[: limit + 1]
        ]
        return _page(summaries, limit)

    async def put_retention(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if params["retentionInDays"] not in LOG_RETENTION_DAYS:
            raise InvalidParameter(
                f"1 validation error detected: Value '{params['retentionInDays']}' at 'retentionInDays' failed to satisfy constraint: "
                f"Member must satisfy enum value set: {list(LOG_RETENTION_DAYS)}"
            )
        await self._store.set_retention(group, params["retentionInDays"])
        return {}

    async def delete_retention(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.set_retention(group, None)
        return {}

    # --- tags ---------------------------------------------------------------------------------------------------------

    async def list_tags(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        return {"tags": (await self._store.group(group)).tags}

    async def tag(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        _check_tags(params["tags"])
        tags = (await self._store.group(group)).tags | params["tags"]
        if len(tags) > LOG_GROUP_TAGS_MAX:
            raise TooManyTags(f"A log group has at most {LOG_GROUP_TAGS_MAX} tags", resourceName=group)
        await self._store.change_tags(group, params["tags"], ())
        return {}

    async def untag(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.change_tags(group, {}, params["tagKeys"] if "tagKeys" in params else params["tags"])
        return {}

    # --- filters, of which there are none -----------------------------------------------------------------------------

    async def describe_metric_filters(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if group:
            await self._store.group(group)
        return {"metricFilters": []}

    async def describe_subscription_filters(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.group(group)
        return {"subscriptionFilters": []}


def describe_group(call: Call, group: LogGroup, *, by_pattern: bool = False) -> dict[str, Any]:
    """Describe a group. A search by a part of the name finds less of it, as on AWS."""
    description: dict[str, Any] = {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": group_arn(call, group.name) + ":*",
        "logGroupClass": "STANDARD",
        "logGroupArn": group_arn(call, group.name),
    }
    if not by_pattern:
        description |= {"storedBytes": group.stored_bytes, "deletionProtectionEnabled": False}
        if group.retention_days is not None:
            description["retentionInDays"] = group.retention_days
    return description


def _is_asked_for(call: Call, params: dict[str, Any]) -> bool:
    """Whether a search includes this account and its groups' class."""
    accounts = params.get("accountIdentifiers") if params.get("includeLinkedAccounts") else None
    return params.get("logGroupClass", "STANDARD") == "STANDARD" and (not accounts or call.principal.account in accounts)


def _page(described: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Make an answer of one more than a page has, if there are more."""
    answer: dict[str, Any] = {"logGroups": described[:limit]}
    if len(described) > limit:
        answer["nextToken"] = write_name(described[limit - 1]["logGroupName"])
    return answer


def _is_named(name: str, parts: Iterable[str]) -> bool:
    return any(name.startswith(part[1:]) if part.startswith("^") else part in name for part in parts)


def _is_tagged(group: LogGroup, filters: Iterable[dict[str, Any]]) -> bool:
    """Whether a group has every key, with one of its values if there are any."""
    return all(each["key"] in group.tags and (not each.get("values") or group.tags[each["key"]] in each["values"]) for each in filters)


def _check_tags(tags: Iterable[str]) -> None:
    if any(key.lower().startswith("aws:") for key in tags):
        raise InvalidParameter("Tag keys starting with aws: are reserved for AWS.")
