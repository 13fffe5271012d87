"""The credentials with which code is fetched from S3."""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class S3Credentials:
    access_key: str
    secret_key: str
    session_token: str | None = None


ANY_CREDENTIALS = S3Credentials("test", "test")  # that servers take which check no signatures, but want one


def read_credentials(file: Path | None, variables: Mapping[str, str]) -> S3Credentials | None:
    """Read credentials from a file in the format of ~/.aws/credentials (`[default]`), else from the AWS variables; None: there are none.

    Raises `ValueError` for a file that has none.
    """
    if file is None:
        key, secret = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
        return S3Credentials(key, secret, variables.get("AWS_SESSION_TOKEN") or None) if key and secret else None
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        section = parser["default"]
        return S3Credentials(section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token") or None)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, configparser.Error):
        raise ValueError(f"{file} has no aws_access_key_id and aws_secret_access_key below [default]") from None
