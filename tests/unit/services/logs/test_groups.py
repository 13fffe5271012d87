"""Log groups: names, lists, what is described, tags."""

from tests.unit.services.logs.support import GROUPS, Client

NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")


async def names(client: Client, operation: str = "DescribeLogGroups", **params: object) -> list[str]:
    return [group["logGroupName"] for group in (await client(operation, **params))["logGroups"]]


async def test_what_is_not_supported_and_names_of_aws_are_refused() -> None:
    client = Client()
    for name in ("aws/x", "AWS/lambda/f"):
        assert await client.fails("CreateLogGroup", logGroupName=name) == (
            "InvalidParameterException",
            "Log groups starting with AWS/ are reserved for AWS.",
        )
    for params in ({"kmsKeyId": "k"}, {"logGroupClass": "INFREQUENT_ACCESS"}, {"deletionProtectionEnabled": True}, {"tags": {"aws:x": ""}}):
        assert (await client.fails("CreateLogGroup", logGroupName="g", **params))[0] == "InvalidParameterException"
    await client.group("g", logGroupClass="STANDARD", deletionProtectionEnabled=False)
    assert (await client("DescribeLogGroups"))["logGroups"] == [
        {
            "logGroupName": "g",
            "creationTime": client.now_ms,
            "metricFilterCount": 0,
            "arn": f"{GROUPS}:g:*",
            "logGroupArn": f"{GROUPS}:g",
            "storedBytes": 0,
            "logGroupClass": "STANDARD",
            "deletionProtectionEnabled": False,
        }
    ]


async def test_a_search_by_a_part_of_the_name_finds_less_of_a_group() -> None:
    client = Client()
    await client.group("a/needle/b")
    await client("PutRetentionPolicy", logGroupName="a/needle/b", retentionInDays=7)
    (group,) = (await client("DescribeLogGroups", logGroupNamePattern="needle"))["logGroups"]
    assert set(group) == {"logGroupName", "creationTime", "metricFilterCount", "arn", "logGroupArn", "logGroupClass"}
    (group,) = (await client("DescribeLogGroups", logGroupNamePrefix="a/"))["logGroups"]
    assert group["retentionInDays"] == 7
    assert await client.fails("DescribeLogGroups", logGroupNamePattern="a", logGroupNamePrefix="a") == (
        "InvalidParameterException",
        "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
    )


async def test_groups_are_described_by_their_names_and_arns() -> None:
    client = Client()
    for name in ("b", "a", "ab"):
        await client.group(name)
    identifiers = ["b", f"{GROUPS}:a", "missing", "a", f"{GROUPS.replace('us-east-1', 'eu-west-1')}:ab"]
    assert await names(client, logGroupIdentifiers=identifiers) == ["a", "b"]
    assert (await client.fails("DescribeLogGroups", logGroupIdentifiers=["a"], limit=1))[0] == "InvalidParameterException"
    assert await names(client, includeLinkedAccounts=True) == ["a", "ab", "b"]
    assert await names(client, includeLinkedAccounts=True, accountIdentifiers=["111111111111"]) == []
    assert await names(client, logGroupClass="INFREQUENT_ACCESS") == []


async def test_groups_are_listed_by_parts_of_names_and_tags() -> None:
    client = Client()
    for name, tags in (("abc", {"k": "1"}), ("xabc", {"k": "2"}), ("def", {}), ("other", {"k": "3", "l": ""})):
        await client.group(name, **({"tags": tags} if tags else {}))
    listed = await client("ListLogGroups", logGroupNamePattern="^abc|def")
    assert listed["logGroups"] == [
        {"logGroupName": name, "logGroupArn": f"{GROUPS}:{name}", "logGroupClass": "STANDARD"} for name in ("abc", "def")
    ]
    assert await names(client, "ListLogGroups", logGroupNamePattern="abc") == ["abc", "xabc"]
    assert await names(client, "ListLogGroups", logGroupNamePattern="no-such-group") == []
    assert await names(client, "ListLogGroups", logGroupTags=[{"key": "k"}]) == ["abc", "other", "xabc"]
    assert await names(client, "ListLogGroups", logGroupTags=[{"key": "k", "values": ["1", "3"]}, {"key": "l"}]) == ["other"]
    assert await names(client, "ListLogGroups", fieldIndexNames=["@x"]) == []
    page = await client("ListLogGroups", limit=3)
    assert [group["logGroupName"] for group in page["logGroups"]] == ["abc", "def", "other"]
    page = await client("ListLogGroups", limit=3, nextToken=page["nextToken"])
    assert [group["logGroupName"] for group in page["logGroups"]] == ["xabc"] and "nextToken" not in page


async def test_tags_by_name_and_by_arn_are_the_same() -> None:
    client = Client()
    await client.group("g", tags={"env": "testing"})
    await client("TagResource", resourceArn=f"{GROUPS}:g", tags={"a": "1", "b": "2"})
    await client("TagLogGroup", logGroupName="g", tags={"b": "3", "c": ""})
    wanted = {"tags": {"env": "testing", "a": "1", "b": "3", "c": ""}}
    assert await client("ListTagsLogGroup", logGroupName="g") == await client("ListTagsForResource", resourceArn=f"{GROUPS}:g") == wanted
    await client("UntagLogGroup", logGroupName="g", tags=["c", "none"])
    await client("UntagResource", resourceArn=f"{GROUPS}:g", tagKeys=["env", "a"])
    assert await client("ListTagsLogGroup", logGroupName="g") == {"tags": {"b": "3"}}
    many = {f"k{number}": "" for number in range(50)}
    assert (await client.fails("TagResource", resourceArn=f"{GROUPS}:g", tags=many))[0] == "TooManyTagsException"
    assert (await client.fails("TagLogGroup", logGroupName="g", tags={"AWS:x": ""}))[0] == "InvalidParameterException"
    for operation, params in (
        ("TagLogGroup", {"logGroupName": "none", "tags": {"a": ""}}),
        ("UntagLogGroup", {"logGroupName": "none", "tags": ["a"]}),
        ("ListTagsLogGroup", {"logGroupName": "none"}),
        ("TagResource", {"resourceArn": f"{GROUPS}:none", "tags": {"a": ""}}),
        ("UntagResource", {"resourceArn": f"{GROUPS.replace('000000000000', '111111111111')}:g", "tagKeys": ["a"]}),
    ):
        assert await client.fails(operation, **params) == NO_GROUP


async def test_there_are_no_filters() -> None:
    client = Client()
    await client.group("g")
    assert await client("DescribeSubscriptionFilters", logGroupName="g") == {"subscriptionFilters": []}
    assert await client("DescribeMetricFilters", logGroupName="g") == await client("DescribeMetricFilters") == {"metricFilters": []}
    for operation in ("DescribeSubscriptionFilters", "DescribeMetricFilters"):
        assert await client.fails(operation, logGroupName="none") == NO_GROUP
