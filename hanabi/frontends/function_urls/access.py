"""Who may call a function URL: by the function's resource policy, and for `AWS_IAM` by the caller's own policies too."""

from collections.abc import Awaitable, Callable

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.authorize import Authorizer
from hanabi.edge.service import RequiredPermission
from hanabi.frontends.function_urls.handler import UrlConfig

ACTIONS = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")  # both, since October 2025


class UrlAccess:
    """Authorises requests. `verify` returns who signed one. `everybody`: URLs of type NONE need no policy statement."""

    def __init__(
        self,
        verify: Callable[[HttpRequest], Awaitable[Principal]],
        authorizer: Authorizer,
        *,
        everybody: bool = False,
    ) -> None:
        self._verify = verify
        self._authorizer = authorizer
        self._everybody = everybody

    async def __call__(self, request: HttpRequest, url: UrlConfig) -> Principal | None:
        """Return the caller; None for an anonymous one. Raises `ApiError` for a caller without access."""
        principal = None if url.auth_type == "NONE" else await self._verify(request)
        if principal is None and self._everybody:
            return None
        context = {"lambda:FunctionUrlAuthType": url.auth_type, "lambda:InvokedViaFunctionUrl": "true"}
        for action in ACTIONS:
            await self._authorizer(principal, request, RequiredPermission(action, url.arn, context, policy=tuple(url.policy)))
        return principal
