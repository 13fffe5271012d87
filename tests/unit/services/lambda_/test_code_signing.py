"""Code signing configurations as boto3 sees them."""

import zipfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from hanabi.images.code.signed_zip import sign_zip
from hanabi.images.code.signing_keys import SigningProfile
from tests.unit.control.support import ACCOUNT, ARN, REGION, ROLE
from tests.unit.services.lambda_.support import CODE, Live, fails

PROFILE = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/test"
PUBLISHERS = {"SigningProfileVersionArns": [PROFILE]}
ENFORCE = {"UntrustedArtifactOnDeployment": "Enforce"}


def test_configurations(live: Live) -> None:
    client = live.client
    made = client.create_code_signing_config(Description="d", AllowedPublishers=PUBLISHERS, CodeSigningPolicies=ENFORCE)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    config = made["CodeSigningConfig"]
    arn = config["CodeSigningConfigArn"]
    assert config == {
        "CodeSigningConfigId": arn.rpartition(":")[2],
        "CodeSigningConfigArn": arn,
        "Description": "d",
        "AllowedPublishers": PUBLISHERS,
        "CodeSigningPolicies": ENFORCE,
        "LastModified": config["LastModified"],
    }
    warn = {"UntrustedArtifactOnDeployment": "Warn"}
    updated = client.update_code_signing_config(CodeSigningConfigArn=arn, CodeSigningPolicies=warn)["CodeSigningConfig"]
    assert updated["CodeSigningPolicies"] == warn and updated["Description"] == "d"
    assert client.update_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"] == updated
    assert client.get_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"] == updated
    assert updated in client.list_code_signing_configs()["CodeSigningConfigs"]

    live.create("trusting")
    assert "CodeSigningConfigArn" not in client.get_function_code_signing_config(FunctionName="trusting")
    assert client.delete_function_code_signing_config(FunctionName="trusting")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)["FunctionArns"] == []
    put = client.put_function_code_signing_config(FunctionName="trusting", CodeSigningConfigArn=arn)
    got = client.get_function_code_signing_config(FunctionName="trusting")
    for answer in (put, got):
        assert (answer["CodeSigningConfigArn"], answer["FunctionName"]) == (arn, "trusting")
    assert client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)["FunctionArns"] == [f"{ARN}:trusting"]
    fails("ResourceConflictException", 409, "functions use it", client.delete_code_signing_config, CodeSigningConfigArn=arn)
    client.delete_function_code_signing_config(FunctionName="trusting")
    assert client.delete_code_signing_config(CodeSigningConfigArn=arn)["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_a_configuration_that_is_not_there(live: Live) -> None:
    client, arn = live.client, f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdefg"
    live.create("mistaken")
    text = f"The Lambda code signing configuration {arn} can not be found."
    for call in (
        client.get_code_signing_config,
        client.update_code_signing_config,
        client.delete_code_signing_config,
        client.list_functions_by_code_signing_config,
    ):
        fails("ResourceNotFoundException", 404, text, call, CodeSigningConfigArn=arn)
    with pytest.raises(ClientError) as caught:
        client.get_code_signing_config(CodeSigningConfigArn=arn)
    assert "Type" not in caught.value.response and caught.value.response["Message"] == text
    text = f"The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
    for name in ("mistaken", "nowhere"):
        fails("CodeSigningConfigNotFoundException", 404, text, client.put_function_code_signing_config,
              FunctionName=name, CodeSigningConfigArn=arn)  # fmt: skip
    fails("CodeSigningConfigNotFoundException", 404, text, client.create_function, FunctionName="never", Runtime="python3.11",
          Handler="app.handler", Role=ROLE, Code={"ZipFile": CODE}, CodeSigningConfigArn=arn)  # fmt: skip
    for call in (client.get_function_code_signing_config, client.delete_function_code_signing_config):
        fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:nowhere", call, FunctionName="nowhere")


def test_code_without_a_signature(live: Live) -> None:
    client = live.client
    enforcing = client.create_code_signing_config(AllowedPublishers=PUBLISHERS, CodeSigningPolicies=ENFORCE)["CodeSigningConfig"]
    warning = client.create_code_signing_config(AllowedPublishers=PUBLISHERS)["CodeSigningConfig"]
    live.create("warned", CodeSigningConfigArn=warning["CodeSigningConfigArn"])
    text = "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not configured"
    arn = enforcing["CodeSigningConfigArn"]
    fails("CodeVerificationFailedException", 400, text, live.create, name="unsigned", CodeSigningConfigArn=arn)
    fails("ResourceNotFoundException", 404, "", client.get_function, FunctionName="unsigned")
    client.put_function_code_signing_config(FunctionName="warned", CodeSigningConfigArn=arn)  # what is deployed stays
    fails("CodeVerificationFailedException", 400, text, client.update_function_code, FunctionName="warned", ZipFile=CODE)
    layer = client.publish_layer_version(LayerName="unsigned", Content={"ZipFile": CODE})["LayerVersionArn"]
    fails("CodeVerificationFailedException", 400, f"Check the provided signature for {layer}", client.update_function_configuration,
          FunctionName="warned", Layers=[layer])  # fmt: skip
    client.update_function_configuration(FunctionName="warned", Timeout=9)


def test_code_that_is_signed(live: Live, tmp_path: Path) -> None:
    client, profile = live.client, live.profiles.create("release", ACCOUNT, REGION)
    other = live.profiles.create("other", ACCOUNT, REGION)

    def sign(by: SigningProfile, expires: float = 4e9) -> bytes:
        (tmp_path / "plain.zip").write_bytes(CODE)
        arguments = {"profile": by.arn, "job": f"{PROFILE}-job", "now": 1e9, "expires": expires}
        sign_zip(tmp_path / "plain.zip", tmp_path / "signed.zip", by.key_path.read_bytes(), by.certificate, **arguments)  # type: ignore[arg-type]
        return (tmp_path / "signed.zip").read_bytes()

    every_version = profile.arn.rpartition("/")[0]
    for allowed in (profile.arn, every_version):
        config = client.create_code_signing_config(
            AllowedPublishers={"SigningProfileVersionArns": [allowed]}, CodeSigningPolicies=ENFORCE
        )  # fmt: skip
        arn, name = config["CodeSigningConfig"]["CodeSigningConfigArn"], f"signed-{'all' if allowed == every_version else 'one'}"
        made = live.create(name, Code={"ZipFile": sign(profile)}, CodeSigningConfigArn=arn)
        assert (made["SigningProfileVersionArn"], made["SigningJobArn"]) == (profile.arn, f"{PROFILE}-job")
        layer = client.publish_layer_version(LayerName=name, Content={"ZipFile": sign(profile)})["LayerVersionArn"]
        assert client.update_function_configuration(FunctionName=name, Layers=[layer])["SigningJobArn"] == f"{PROFILE}-job"
        live.settle(name)
        for code in (sign(other), sign(profile, expires=2e9 - 1e9 + 1)):
            fails("CodeVerificationFailedException", 400, f"Check the provided signature for {name}.", client.update_function_code,
                  FunctionName=name, ZipFile=code)  # fmt: skip
    warning = client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [profile.arn]})["CodeSigningConfig"]
    client.put_function_code_signing_config(FunctionName="signed-one", CodeSigningConfigArn=warning["CodeSigningConfigArn"])
    assert "SigningJobArn" not in client.update_function_code(FunctionName="signed-one", ZipFile=CODE)
    live.settle("signed-one")
    sign(profile)
    with zipfile.ZipFile(tmp_path / "signed.zip", "a") as archive:
        archive.writestr("more.py", "")
    fails("InvalidCodeSignatureException", 400, "failed the integrity check", client.update_function_code, FunctionName="signed-one",
          ZipFile=(tmp_path / "signed.zip").read_bytes())  # fmt: skip
