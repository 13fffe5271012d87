"""Who may call a function URL: by the function's resource policy, and for `AWS_IAM` by the caller's own policies too."""

from collections.abc import Awaitable, Callable

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import LATEST
from hanabi.control.functions import Functions
from hanabi.edge.auth.authorize import Authorizer
from hanabi.edge.service import RequiredPermission
from hanabi.frontends.function_urls.handler import UrlConfig

ACTIONS = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")  # both, since October 2025


class UrlAccess:
    """Authorises requests. `verify` returns who signed one. `everybody`: URLs of type NONE need no policy statement."""

    def __init__(
        self,
        functions: Functions,
        verify: Callable[[HttpRequest], Awaitable[Principal]],
        authorizer: Authorizer,
        *,
        everybody: bool = False,
    ) -> None:
        self._functions = functions
        self._verify = verify
        self._authorizer = authorizer
        self._everybody = everybody

    async def __call__(self, request: HttpRequest, url: UrlConfig) -> Principal | None:
        """Return the caller; None for an anonymous one. Raises `ApiError` for a caller without access."""
        principal = None if url.auth_type == "NONE" else await self._verify(request)
        if principal is None and self._everybody:
            return None
        function = self._functions.get(url.function)
        policy = tuple(function.policies.get(url.qualifier or LATEST, ())) if function else ()
        context = {"lambda:FunctionUrlAuthType": url.auth_type, "lambda:InvokedViaFunctionUrl": "true"}
        for action in ACTIONS:
            permission = RequiredPermission(action, self._functions.account_region.arn(url.function, url.qualifier), context, policy=policy)
            await self._authorizer(principal, request, permission)
        return principal
