"""IAM's errors are those of AWS's model."""

from hanabi.edge.protocols.model import load
from hanabi.errors import ApiError
from hanabi.services.iam import errors


def test_codes_and_statuses() -> None:
    shapes = load("iam").botocore.error_shapes
    of_model = {shape.metadata["error"]["code"]: shape.metadata["error"]["httpStatusCode"] for shape in shapes if "error" in shape.metadata}
    own = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ApiError) and each is not ApiError]
    assert len(own) > 6 and {each.code: each.status for each in own}.items() <= of_model.items()
