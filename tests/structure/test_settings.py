"""Every setting of every operation that is served says what it does: `hanabi/services/settings/`."""

import pytest

from tests.structure import settings


def test_every_setting_says_what_it_does() -> None:
    assert settings.all_faults() == [], "hanabi/services/settings/; python -m tests.structure.settings prints the lines that are missing"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"RoleArn": "effective: security/test_spellings.py::test_nothing"}, "[AssumeRole] RoleArn: there is no such test"),
        ({"RoleArn": "stored"}, "[AssumeRole] RoleArn: write one of effective, no effect, stored, refused"),
        ({"RoleArn": "refused:"}, "[AssumeRole] RoleArn: write one of effective, no effect, stored, refused"),
        ({"Role": "refused: so"}, "[AssumeRole] Role is no member of AWS's model"),
        ({"Tags.Colour": "refused: so"}, "[AssumeRole] Tags.Colour is no member of AWS's model"),
        ({"Tags.Key": "refused: so"}, ""),
    ],
)
def test_a_line_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, line: dict[str, str], fault: str) -> None:
    tables = settings.declared("sts")
    monkeypatch.setattr(settings, "declared", lambda service: tables | {"AssumeRole": tables["AssumeRole"] | line})
    found = list(settings.faults("sts"))
    assert len(found) == bool(fault) and all(fault in each for each in found), found


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {name: lines for name, lines in settings.declared("sts").items() if name != "GetCallerIdentity"} | {"AssumeRoot": {}}
    monkeypatch.setattr(settings, "declared", lambda service: tables | {"AssumeRole": {}})
    found = list(settings.faults("sts"))
    assert "sts.toml: [AssumeRole] has no line for RoleArn" in found
    assert "sts.toml: there is no table [GetCallerIdentity], though it is served" in found
    assert "sts.toml: [AssumeRoot] is not served" in found
