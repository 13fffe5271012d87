"""Resource policies."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.control.resource_policies import add_statement, find_policy, remove_statement
from hanabi.errors import InvalidParameterValue, PolicyLengthExceeded, PreconditionFailed, ResourceConflict, ResourceNotFound
from tests.unit.control.support import ARN, open_plane


def permission(sid: str = "s", **changes: Any) -> dict[str, Any]:
    return {"StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"} | changes


async def test_policies(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        before = await plane.create(Publish=True)
        with pytest.raises(ResourceNotFound, match="The resource you requested does not exist."):
            find_policy(before, None)
        given = permission(SourceArn="arn:aws:s3:::bucket", SourceAccount="000000000000")
        await plane.functions.change("f", lambda f: add_statement(f, None, given))
        await plane.functions.change("f", lambda f: add_statement(f, "1", permission(Principal="111111111111")))
    async with open_plane(tmp_path) as plane:
        function = plane.functions.find("f")
        text, revision = find_policy(function, None)
        assert json.loads(text) == {
            "Version": "2012-10-17",
            "Id": "default",
            "Statement": [
                {
                    "Sid": "s",
                    "Effect": "Allow",
                    "Principal": {"Service": "s3.amazonaws.com"},
                    "Action": "lambda:InvokeFunction",
                    "Resource": f"{ARN}:f",
                    "Condition": {
                        "StringEquals": {"AWS:SourceAccount": "000000000000"},
                        "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
                    },
                }
            ],
        }
        assert revision == function.latest.revision_id != before.latest.revision_id
        assert json.loads(find_policy(function, "1")[0])["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"}
        with pytest.raises(PreconditionFailed):
            remove_statement(function, None, "s", "wrong")
        removed = await plane.functions.change("f", lambda f: remove_statement(f, None, "s", revision))
        assert "$LATEST" not in removed.policies and "1" in removed.policies
        assert plane.retired == []  # a policy is none of an environment's business


async def test_bad_policies_are_refused(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = add_statement(await plane.create(), None, permission())
        for qualifier, params, error, message in (
            (None, permission(), ResourceConflict, "The statement id (s) provided already exists."),
            (None, permission("t", Principal="nobody"), InvalidParameterValue, "The provided principal was invalid."),
            ("$LATEST", permission("t"), InvalidParameterValue, "We currently do not support adding policies for $LATEST."),
            ("42", permission("t"), ResourceNotFound, f"Function not found: {ARN}:f:42"),
            ("live", permission("t"), ResourceNotFound, f"Cannot find alias arn: {ARN}:f:live"),
            (None, permission("t", RevisionId="x"), PreconditionFailed, "The Revision Id provided does not match"),
            (None, permission("t", SourceArn="arn:" + "x" * 30_000), PolicyLengthExceeded, "The final policy size ("),
        ):  # fmt: skip
            with pytest.raises(error) as caught:
                add_statement(function, qualifier, params)
            assert caught.value.message.startswith(message)
        with pytest.raises(ResourceNotFound, match="Statement x is not found in resource policy."):
            remove_statement(function, None, "x", None)
