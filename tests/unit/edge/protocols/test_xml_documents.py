"""Results as XML, read by botocore's own parsers."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.parsers import create_parser

from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.xml_documents import write_element, write_members

NOW = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
OWNER = {"ID": "me", "DisplayName": "<M & E>\r"}
RESULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("s3", "ListObjectsV2"): {
        "IsTruncated": False,
        "Contents": [{"Key": "a/\u2603", "Size": 1, "LastModified": NOW}, {"Key": "b", "Size": 2}],
        "CommonPrefixes": [{"Prefix": "x/"}],
        "KeyCount": 2,
    },
    ("s3", "GetBucketAcl"): {
        "Owner": OWNER,
        "Grants": [{"Grantee": {"Type": "CanonicalUser", "ID": "me"}, "Permission": "FULL_CONTROL"}],
    },
    ("route53", "ListHostedZones"): {
        "HostedZones": [{"Id": "Z1", "Name": "example.", "CallerReference": "r"}],
        "Marker": "",
        "IsTruncated": True,
        "MaxItems": "1",
    },
}


@pytest.mark.parametrize(("service", "operation"), list(RESULTS))
def test_rest_xml(service: str, operation: str) -> None:
    shape, result = load(service).operation(operation).output_shape, RESULTS[service, operation]
    body = write_element(operation + "Result", shape, result)
    response = {"status_code": 200, "headers": {}, "body": body.encode()}
    parsed = create_parser("rest-xml").parse(response, shape)
    parsed.pop("ResponseMetadata")
    assert parsed == result


def test_maps_and_blobs() -> None:
    """Of the query protocol."""
    shape = load("cloudformation").operation("DescribeStacks").output_shape
    stack = {"StackName": "s", "CreationTime": NOW, "StackStatus": "CREATE_COMPLETE", "Tags": [{"Key": "k", "Value": "v"}]}
    body = f"<R><DescribeStacksResult>{write_members(shape, {'Stacks': [stack]})}</DescribeStacksResult></R>"
    parsed = create_parser("query").parse({"status_code": 200, "headers": {}, "body": body.encode()}, shape)
    assert parsed["Stacks"] == [stack]
    shape = load("sns").operation("GetTopicAttributes").output_shape
    body = write_members(shape, {"Attributes": {"Policy": "{}", "<": "&"}})
    parsed = create_parser("query").parse(
        {"status_code": 200, "headers": {}, "body": f"<R><GetTopicAttributesResult>{body}</GetTopicAttributesResult></R>".encode()}, shape
    )
    assert parsed["Attributes"] == {"Policy": "{}", "<": "&"}
