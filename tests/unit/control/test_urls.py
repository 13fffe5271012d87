"""Function URLs."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.control.urls import add_url, change_url, check_owner, check_qualifier, find_url, remove_url
from hanabi.errors import ResourceConflict, ResourceNotFound, ValidationError
from tests.unit.control.support import ARN, open_plane


async def test_urls(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        with pytest.raises(ResourceNotFound, match="The resource you requested does not exist."):
            find_url(plane.functions.find("f"), None)
        function = await plane.functions.change("f", lambda f: add_url(f, None, {"AuthType": "AWS_IAM"}, 1))
        url = find_url(function, None)
        assert len(url.id) == 32 and url.id.isalnum() and url.id == url.id.lower()
        with pytest.raises(ResourceConflict) as caught:
            add_url(function, None, {"AuthType": "NONE"}, 1)
        assert caught.value.message == (
            f"Failed to create function url config for [functionArn = {ARN}:f]. "
            "Error message:  FunctionUrlConfig exists for this Lambda function"
        )
        cors: dict[str, Any] = {"AllowOrigins": ["*"]}
        await plane.functions.change("f", lambda f: change_url(f, None, {"AuthType": "NONE", "Cors": cors}, 2))
    async with open_plane(tmp_path) as plane:
        found = plane.urls.lookup(url.id)
        assert found is not None
        assert (found.auth_type, found.cors, found.qualifier, found.created_ms, found.modified_ms) == ("NONE", cors, None, 1, 2)
        assert found.invoke_mode is None and not found.streams
        await plane.functions.change("f", lambda f: change_url(f, None, {"InvokeMode": "RESPONSE_STREAM"}, 3))
        await plane.functions.change("f", lambda f: change_url(f, None, {"AuthType": "NONE"}, 4))
    async with open_plane(tmp_path) as plane:
        changed = plane.urls.lookup(url.id)
        assert changed is not None and changed.streams
        await plane.functions.change("f", lambda f: remove_url(f, None))
        assert plane.urls.lookup(url.id) is None


def test_who_may_have_a_url() -> None:
    for qualifier in ("1", "$LATEST"):
        with pytest.raises(ValidationError, match=f"Value '{qualifier}' at 'qualifier'".replace("$", r"\$")):
            check_qualifier(qualifier)
    check_qualifier(None)
    check_qualifier("live")
    with pytest.raises(ResourceNotFound, match="Function does not exist"):
        check_owner(None, None)
