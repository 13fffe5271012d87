"""Whether a function's policy lets an AWS service invoke it, for what calls functions on behalf of one: queues, buckets, gateways.

Such a caller has no identity policies: the resource's policy alone decides. IAM user guide, "AWS service principals".
"""

from collections.abc import Mapping

from hanabi.base.clock import Clock
from hanabi.control.arns import LATEST
from hanabi.control.functions import Functions
from hanabi.edge.auth.authorize import format_date, lower_keys
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, evaluate_resource_policy

INVOKE = "lambda:InvokeFunction"


class ServiceAccess:
    """The access of services to the functions of one account and region."""

    def __init__(self, functions: Functions, clock: Clock) -> None:
        self._functions = functions
        self._clock = clock

    def may_invoke(
        self,
        service: str,
        name: str,
        qualifier: str | None = None,
        *,
        source_arn: str = "",
        source_account: str = "",
        context: Mapping[str, str] | None = None,
    ) -> bool:
        """Whether a service, "s3.amazonaws.com", may invoke a function, for what in AWS causes it: a bucket, a rule, an API.

        `context`: further condition keys, "lambda:EventSourceToken" for one. A function that is not there lets nobody in.
        """
        function = self._functions.get(name)
        if function is None:
            return False
        now = self._clock.time()
        place = self._functions.account_region
        condition_keys: dict[str, str | tuple[str, ...]] = {
            "aws:PrincipalIsAWSService": "true",
            "aws:PrincipalServiceName": service,
            "aws:ViaAWSService": "false",
            "aws:CurrentTime": format_date(now),
            "aws:EpochTime": str(int(now)),
            "aws:RequestedRegion": place.region,
            "aws:ResourceAccount": place.account,
        }
        optional = {"aws:SourceArn": source_arn, "aws:SourceAccount": source_account}
        condition_keys |= {key: value for key, value in optional.items() if value} | dict(context or {})
        request = AccessRequest(INVOKE, (place.arn(name, qualifier),), lower_keys(condition_keys))
        policy = function.policies.get(qualifier or LATEST, ())
        return evaluate_resource_policy(policy, service, request) in (Verdict.ALLOW, Verdict.DIRECT)
