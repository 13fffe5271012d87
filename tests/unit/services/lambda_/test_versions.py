"""Published versions as boto3 sees them."""

from tests.server import zip_of
from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails

PUBLISHED = "$LATEST.PUBLISHED"


def test_latest_published(live: Live) -> None:
    """One version that is published again and again, beside the numbered ones."""
    client = live.client
    live.create("again")
    one = {"FunctionName": "again"}
    fails("ResourceNotFoundException", 404, f"{ARN}:again:{PUBLISHED}", client.get_function, **one, Qualifier=PUBLISHED)
    assert client.publish_version(**one)["Version"] == "1"
    first = client.publish_version(**one, PublishTo="LATEST_PUBLISHED", Description="first")
    assert (first["Version"], first["FunctionArn"], first["Description"]) == (PUBLISHED, f"{ARN}:again:{PUBLISHED}", "first")
    assert client.publish_version(**one, PublishTo="LATEST_PUBLISHED")["RevisionId"] == first["RevisionId"]  # nothing is new
    client.update_function_configuration(**one, Timeout=9)
    live.settle("again")
    assert client.get_function_configuration(**one, Qualifier=PUBLISHED)["Timeout"] == 3
    client.create_alias(**one, Name="live", FunctionVersion=PUBLISHED)
    assert client.publish_version(**one, PublishTo="LATEST_PUBLISHED")["Timeout"] == 9
    assert client.get_function_configuration(FunctionName="again:live")["Timeout"] == 9
    assert client.invoke(**one, Qualifier=PUBLISHED)["ExecutedVersion"] == PUBLISHED
    versions = [each["Version"] for each in client.list_versions_by_function(**one)["Versions"]]
    assert versions == ["$LATEST", PUBLISHED, "1"]
    assert client.publish_version(**one)["Version"] == "2"  # numbers are not used up
    fails("ResourceConflictException", 409, "aliases reference it: [live]", client.delete_function, **one, Qualifier=PUBLISHED)
    client.delete_alias(**one, Name="live")
    client.delete_function(**one, Qualifier=PUBLISHED)
    assert [each["Version"] for each in client.list_versions_by_function(**one)["Versions"]] == ["$LATEST", "1", "2"]


def test_functions_are_created_and_updated_with_it(live: Live) -> None:
    made = live.create("made", PublishTo="LATEST_PUBLISHED")
    assert (made["Version"], made["State"]) == (PUBLISHED, "Pending")
    live.settle("made")
    updated = live.client.update_function_code(
        FunctionName="made", ZipFile=zip_of({"app.py": "newer"}), Publish=True, PublishTo="LATEST_PUBLISHED"
    )
    assert updated["Version"] == PUBLISHED
    live.settle("made")
    shown = [live.client.get_function_configuration(FunctionName="made", Qualifier=each)["CodeSha256"] for each in (PUBLISHED, "$LATEST")]
    assert shown == [updated["CodeSha256"]] * 2
