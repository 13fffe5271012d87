"""Where the credentials for S3 are read from."""

from pathlib import Path

import pytest

from hanabi.images.code.s3_credentials import S3Credentials, read_credentials


def test_credentials_are_of_a_file_else_of_variables(tmp_path: Path) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert read_credentials(None, variables) == S3Credentials("a", "b")
    assert read_credentials(None, {"AWS_ACCESS_KEY_ID": "a"}) is None
    file = tmp_path / "credentials"
    file.write_text("[other]\nx = y\n[default]\naws_access_key_id = c\naws_secret_access_key = d%e\naws_session_token = t\n")
    assert read_credentials(file, variables) == S3Credentials("c", "d%e", "t")
    for text in ("", "[default]\naws_access_key_id = c\n", "no sections", "[default]\n[default]\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match="has no aws_access_key_id and aws_secret_access_key below"):
            read_credentials(file, variables)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_credentials(tmp_path / "none", variables)
