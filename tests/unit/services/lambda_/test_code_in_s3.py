"""Code of functions and layers in a real S3, as boto3 sees it; the errors are those recorded from AWS."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from hanabi.images.code.s3_credentials import S3Credentials
from hanabi.images.code.s3_objects import S3Objects
from tests.server import zip_of
from tests.unit.control.support import ROLE
from tests.unit.services.lambda_.seaweedfs import seaweedfs
from tests.unit.services.lambda_.support import CODE, Live, fails, live_lambda

LATER = zip_of({"app.py": "def handler(event, context): return 2"})
NO_KEY = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
NO_BUCKET = "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Any]]:
    with seaweedfs() as s3:
        scratch = tmp_path_factory.mktemp("scratch")
        objects = S3Objects(s3.url, S3Credentials("any", "any"), "us-east-1", scratch)
        client = s3.client
        client.create_bucket(Bucket="code")
        client.create_bucket(Bucket="versions")
        client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        try:
            with live_lambda(tmp_path_factory.mktemp("lambda"), objects) as live:
                yield live, client
            assert list(scratch.iterdir()) == []
        finally:
            asyncio.run(objects.close())
            client.close()


def test_code_and_layers_in_s3(scene: tuple[Live, Any]) -> None:
    live, s3 = scene
    s3.put_object(Bucket="code", Key="a b/f.zip", Body=CODE)
    made = live.create("s3", Code={"S3Bucket": "code", "S3Key": "a b/f.zip"})
    assert made["CodeSize"] == len(CODE)
    s3.put_object(Bucket="code", Key="a b/f.zip", Body=LATER)
    key = "arn:aws:kms:us-east-1:000000000000:key/k"
    updated = live.client.update_function_code(FunctionName="s3", S3Bucket="code", S3Key="a b/f.zip", SourceKMSKeyArn=key)
    assert updated["CodeSha256"] != made["CodeSha256"]
    live.settle("s3")
    assert live.client.get_function(FunctionName="s3")["Code"] == {"RepositoryType": "S3", "SourceKMSKeyArn": key}
    content = live.client.publish_layer_version(LayerName="s3", Content={"S3Bucket": "code", "S3Key": "a b/f.zip"})["Content"]
    assert (content["CodeSha256"], "ResolvedS3Object" in content) == (updated["CodeSha256"], False)


def test_a_version_of_an_object(scene: tuple[Live, Any]) -> None:
    live, s3 = scene
    first = s3.put_object(Bucket="versions", Key="f.zip", Body=CODE)["VersionId"]
    newest = s3.put_object(Bucket="versions", Key="f.zip", Body=LATER)["VersionId"]
    place = {"S3Bucket": "versions", "S3Key": "f.zip", "S3ObjectStorageMode": "REFERENCE"}
    old = live.create("versioned", Code={**place, "S3ObjectVersion": first})
    described = live.client.get_function(FunctionName="versioned")["Code"]
    assert described["ResolvedS3Object"] == {"S3Bucket": "versions", "S3Key": "f.zip", "S3ObjectVersion": first}
    new = live.client.publish_layer_version(LayerName="versioned", Content=place)["Content"]
    assert new["CodeSha256"] != old["CodeSha256"] and new["ResolvedS3Object"]["S3ObjectVersion"] == newest


def test_errors_of_s3_are_lambdas(scene: tuple[Live, Any]) -> None:
    live, s3 = scene
    client, refused = live.client, "InvalidParameterValueException"
    settings = {"Runtime": "python3.11", "Handler": "app.handler", "Role": ROLE}
    live.create("errors")
    for place, message in (
        ({"S3Bucket": "code", "S3Key": "no/such.zip"}, NO_KEY),
        ({"S3Bucket": "no-such-bucket", "S3Key": "f.zip"}, NO_BUCKET),
        ({"S3Bucket": "code", "S3Key": "text"}, "Could not unzip uploaded file. Please check your file, then try to upload again."),
    ):
        s3.put_object(Bucket="code", Key="text", Body=b"no zip")
        fails(refused, 400, message, client.create_function, FunctionName="new", Code=place, **settings)
        fails(refused, 400, message, client.update_function_code, FunctionName="errors", **place)
        fails(refused, 400, message, client.publish_layer_version, LayerName="new", Content=place)
    fails(
        "ResourceNotFoundException", 404, "Function not found", client.update_function_code, FunctionName="none", S3Bucket="bkt", S3Key="k"
    )
    fails("ResourceNotFoundException", 404, "Function not found", client.get_function, FunctionName="new")
