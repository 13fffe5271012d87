"""What a service's messages show that its model does not say."""

import pytest
from botocore.model import ServiceModel

from hanabi.edge.protocols.constraints import Constraints
from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.wording import PLAIN, Wording
from hanabi.errors import ValidationError

SHAPES = {
    "Input": {"type": "structure", "members": {"Name": {"shape": "Name"}, "Parts": {"shape": "Parts"}, "Ids": {"shape": "Ids"}}},
    "Name": {"type": "string", "pattern": "a+", "max": 4},
    "Parts": {"type": "list", "member": {"shape": "Part"}, "max": 1},
    "Part": {"type": "structure", "members": {"First": {"shape": "Name"}, "Second": {"shape": "Flag"}}},
    "Flag": {"type": "boolean"},
    "Ids": {"type": "list", "member": {"shape": "Name"}},
}
MODEL = ServiceModel({"metadata": {"protocol": "json"}, "operations": {}, "shapes": SHAPES}, "s")


def errors(value: dict[str, object], wording: Wording = PLAIN) -> list[str]:
    check = Constraints(wording).check(MODEL.shape_for("Input"))
    found: list[str] = []
    assert check is not None
    check(value, "", found)
    return found


def test_structures_are_printed_as_java_prints_them() -> None:
    """As CloudWatch Logs prints MetricTransformation: LocalStack's test_put_metric_filter_too_many_transformations."""
    (found,) = errors({"Parts": [{"First": "a", "Second": True}, {}]})
    assert found.startswith("Value '[Part(first=a, second=true), Part(first=null, second=null)]' at 'parts' failed to satisfy constraint: ")


@pytest.mark.parametrize(
    ("wording", "beginning"),
    [
        (PLAIN, "Value 'b' at 'name' failed"),
        (Wording(hides_values=True), "Value at 'name' failed"),
        (Wording(hidden=frozenset({"Name"})), "Value at 'name' failed"),
        (Wording(hidden=frozenset({"Other"})), "Value 'b' at 'name' failed"),
    ],
)
def test_values_may_be_hidden(wording: Wording, beginning: str) -> None:
    assert errors({"Name": "b"}, wording)[0].startswith(beginning)


def test_a_null_among_structures_is_refused() -> None:
    text = "Value '[null]' at 'parts' failed to satisfy constraint: Member must satisfy constraint: [Member must not be null]"
    assert errors({"Parts": [None]}) == [text]


def test_a_list_may_say_nothing_of_nulls() -> None:
    rest = "Member must have length less than or equal to 4, Member must satisfy regular expression pattern: a+"
    assert errors({"Ids": ["b"]})[0].endswith(f"[{rest}, Member must not be null]")
    assert errors({"Ids": ["b"]}, Wording(nullable=frozenset({"Ids"})))[0].endswith(f"[{rest}]")


def test_a_pattern_of_another_version_is_named_and_either_is_satisfied() -> None:
    wording = Wording(patterns={"Name": "c+"})
    assert errors({"Name": "a"}, wording) == errors({"Name": "c"}, wording) == []
    assert errors({"Name": "b"}, wording)[0].endswith("regular expression pattern: c+")


def test_services_of_one_model_each_have_their_wording() -> None:
    wording = Wording(hides_values=True)
    plain, hiding = load("iam"), load("iam", wording)
    assert hiding is load("iam", wording) and hiding is not plain and hiding.botocore is plain.botocore
    for model, text in ((hiding, "Value at 'roleName'"), (plain, "Value 'a b' at 'roleName'")):
        with pytest.raises(ValidationError, match=text):
            model.validate("GetRole", {"RoleName": "a b"})
