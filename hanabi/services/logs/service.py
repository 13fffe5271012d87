"""CloudWatch Logs: what people and tools use to read the logs of functions, and to keep logs of their own."""

from collections.abc import Mapping
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.logs import Logs
from hanabi.control import arns
from hanabi.edge.protocols.wording import Wording
from hanabi.edge.service import Operation, RequestBody, Service
from hanabi.quotas import LOG_REQUEST_BYTES
from hanabi.services.logs.groups import GroupOperations
from hanabi.services.logs.live_tail import LiveTailOperations
from hanabi.services.logs.log_events import EventOperations
from hanabi.services.logs.streams import StreamOperations
from hanabi.services.logs.targets import LogTargets

BATCH = RequestBody(LOG_REQUEST_BYTES)


def operations(
    on: LogTargets, groups: GroupOperations, streams: StreamOperations, events: EventOperations, live_tail: LiveTailOperations
) -> Mapping[str, Operation[Any]]:
    """All operations of CloudWatch Logs that are served."""
    return {
        "CreateLogGroup": on.group("CreateLogGroup", groups.create),
        "CreateLogStream": on.group("CreateLogStream", streams.create),
        "DeleteLogGroup": on.group("DeleteLogGroup", groups.delete),
        "DeleteLogStream": on.stream("DeleteLogStream", streams.delete),
        "DeleteRetentionPolicy": on.group("DeleteRetentionPolicy", groups.delete_retention),
        "DescribeLogGroups": on.listed("DescribeLogGroups", groups.describe),
        "DescribeLogStreams": on.identified("DescribeLogStreams", streams.describe),
        "DescribeMetricFilters": on.optional("DescribeMetricFilters", groups.describe_metric_filters),
        "DescribeSubscriptionFilters": on.group("DescribeSubscriptionFilters", groups.describe_subscription_filters),
        "FilterLogEvents": on.identified("FilterLogEvents", events.filter),
        "GetLogEvents": on.stream("GetLogEvents", events.get),
        "ListLogGroups": on.account("ListLogGroups", groups.list),
        "ListTagsForResource": on.tagged("ListTagsForResource", groups.list_tags),
        "ListTagsLogGroup": on.group("ListTagsLogGroup", groups.list_tags),
        "PutLogEvents": on.stream("PutLogEvents", events.put, BATCH),
        "PutRetentionPolicy": on.group("PutRetentionPolicy", groups.put_retention),
        "StartLiveTail": on.several("StartLiveTail", live_tail.start),
        "TagLogGroup": on.group("TagLogGroup", groups.tag),
        "TagResource": on.tagged("TagResource", groups.tag),
        "TestMetricFilter": on.nothing("TestMetricFilter", events.try_filter),
        "UntagLogGroup": on.group("UntagLogGroup", groups.untag),
        "UntagResource": on.tagged("UntagResource", groups.untag),
    }


class LogsService(Service):
    """The `logs` service."""

    name = "logs"
    # moto's test_get_log_events_using_arn, verified on AWS, and its test_start_live_tail_rejects_more_than_ten_log_groups
    wording = Wording(hidden=frozenset({"LogGroupIdentifier", "StartLiveTailLogGroupIdentifiers", "DescribeLogGroupsLogGroupIdentifiers"}))

    def __init__(self, store: Logs, clock: Clock, account_region: arns.AccountRegion) -> None:
        self._live_tail = LiveTailOperations(store, clock)
        groups, streams, events = GroupOperations(store), StreamOperations(store), EventOperations(store, clock)
        self.operations = operations(LogTargets(account_region), groups, streams, events, self._live_tail)

    def drain(self) -> None:
        self._live_tail.drain()
