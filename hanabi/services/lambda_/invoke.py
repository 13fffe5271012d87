"""Invoke: the warm path. No task, no copy of the payload, no disk access."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.functions import Catalog, Route
from hanabi.contracts.invocation import Cancellable, EventQueue, Invocation, Invoker, Result
from hanabi.contracts.lineage import recursions
from hanabi.contracts.tenants import route_for
from hanabi.edge.large_json import JsonWorkers
from hanabi.edge.service import Call, Done, Params
from hanabi.edge.traces import begin_trace
from hanabi.errors import InvalidParameterValue, InvalidRequestContent, RecursiveInvocation
from hanabi.quotas import CLIENT_CONTEXT_BYTES, RECURSIONS_MAX
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.lambda_.payload import INLINE_BYTES, check_json, check_payload, check_size
from hanabi.services.lambda_.response_events import ResponseEvents
from hanabi.services.lambda_.targets import Qualified

SYNC = "RequestResponse"
RECURSIVE = (
    "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources "
    "and stopped your function's invocation."
)
EMPTY = b"{}"  # what a function is handed when it is invoked with nothing


class InvokeOperations:
    def __init__(self, catalog: Catalog, roles: ExecutionRoles, invoker: Invoker, events: EventQueue, clock: Clock) -> None:
        self._catalog = catalog
        self._roles = roles
        self._invoker = invoker
        self._events = events
        self._clock = clock
        self._workers = JsonWorkers(clock)

    def begin_invoke(self, call: Call, params: Params, target: Qualified, done: Done) -> Cancellable | None:
        """Begin a synchronous call with a small payload, as most are. None for all others."""
        payload = params.get("Payload") or EMPTY
        if type(payload) is not bytes or len(payload) > INLINE_BYTES or params.get("InvocationType", SYNC) != SYNC:
            return None
        route = self._find(params, target)
        check_json(payload)
        invocation = self._make_invocation(call, params, route, payload, self._answer_trace(call, route))

        def end(result: Result | Exception) -> None:
            done(result if isinstance(result, Exception) else _describe(result))

        return self._invoker.start(invocation, end)

    async def invoke(self, call: Call, params: Params, target: Qualified) -> Params:
        route = self._find(params, target)
        kind = params.get("InvocationType") or SYNC
        payload = await self._read_payload(params, kind)
        if kind == "DryRun":
            return {"StatusCode": 204}
        trace = self._answer_trace(call, route, kind)
        if kind == "Event":
            await self._put(call, route, payload, target[1], trace)
            return {"StatusCode": 202}
        return _describe(await self._invoker.invoke(self._make_invocation(call, params, route, payload, trace)))

    async def invoke_with_response_stream(self, call: Call, params: Params, target: Qualified) -> Params:
        route = self._find(params, target)
        payload = await self._read_payload(params, SYNC)
        if params.get("InvocationType") == "DryRun":
            return {"StatusCode": 204}
        invocation = self._make_invocation(call, params, route, payload, self._answer_trace(call, route))
        streamed = await self._invoker.stream(invocation)
        return {"StatusCode": 200, "ExecutedVersion": route.version.version, "EventStream": ResponseEvents(streamed)}

    async def _read_payload(self, params: Params, kind: str) -> bytes:
        payload = params.get("Payload") or EMPTY
        if not isinstance(payload, bytes) or len(payload) > INLINE_BYTES:
            return await self._read_large(payload, kind)
        check_json(payload)
        return payload

    def _find(self, params: Params, target: Qualified) -> Route:
        route = self._catalog.resolve(*target)
        if "DurableExecutionName" in params:
            _refuse_durable(params)
        if "TenantId" in params or route.version.tenant_environments_max:
            return route_for(route, params.get("TenantId") or "")
        return route

    def _make_invocation(self, call: Call, params: Params, route: Route, payload: bytes, trace: str) -> Invocation:
        context = params.get("ClientContext")
        return Invocation(
            request_id=call.request_id,
            route=route,
            payload=payload,
            client_context=_read_context(context) if context else "",
            trace=trace,
            tail=params.get("LogType") == "Tail",
        )

    def _answer_trace(self, call: Call, route: Route, kind: str = SYNC) -> str:
        """Add the trace to the answer, as Lambda's own edge does."""
        version, given = route.version, call.request.header("x-amzn-trace-id")
        trace = begin_trace(given, self._clock.time(), version.arn, version.traced)
        if given and kind != "Event":
            self._refuse_recursion(route, trace)
        call.response_headers += [("x-amzn-remapped-content-length", "0"), ("x-amzn-trace-id", trace)]
        return trace

    async def invoke_async(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        """InvokeAsync of 2014, the same as invocation type Event."""
        name, qualifier = target
        route = route_for(self._catalog.resolve(name, qualifier), "")
        payload = await self._read_large(params.get("InvokeArgs") or EMPTY, "Event")
        trace = begin_trace(call.request.header("x-amzn-trace-id"), self._clock.time(), route.version.arn, route.version.traced)
        await self._put(call, route, payload, qualifier, trace)
        return {"Status": 202}

    async def _put(self, call: Call, route: Route, payload: bytes, qualifier: str | None, trace: str) -> None:
        """Queue an event, without a client context. One that could never run is refused."""
        self._roles.check_invocable(route.version.role)
        await self._events.put(route, payload, request_id=call.request_id, client_context="", trace=trace, qualifier=qualifier)

    async def _read_large(self, payload: bytes | Path, kind: str) -> bytes:
        if not isinstance(payload, bytes):
            check_size((await asyncio.to_thread(payload.stat)).st_size, kind)
            payload = await asyncio.to_thread(payload.read_bytes)
        await check_payload(payload, kind, self._workers)
        return payload

    def _refuse_recursion(self, route: Route, trace: str) -> None:
        """Refuse a chain of requests that comes back to its function again and again. An event of one is dropped later, in its queue."""
        if recursions(trace, route.version.arn) >= RECURSIONS_MAX and not self._catalog.event_rules(route.version.name, None).may_recurse:
            raise RecursiveInvocation(RECURSIVE)


def _describe(result: Result) -> Params:
    answer: Params = {"StatusCode": 200, "ExecutedVersion": result.version, "Payload": result.payload}
    if result.function_error is not None:
        answer["FunctionError"] = result.function_error
    if result.log_tail:
        answer["LogResult"] = base64.b64encode(result.log_tail).decode()
    return answer


def _read_context(text: str) -> str:
    """Read the client context as one line of JSON."""
    if len(text) > CLIENT_CONTEXT_BYTES:
        raise InvalidRequestContent(f"Client context must be no more than {CLIENT_CONTEXT_BYTES} bytes")
    try:
        context = json.loads(base64.b64decode(text, validate=True))
        if isinstance(context, dict):
            return json.dumps(context, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        pass
    raise InvalidRequestContent("Client context must be a valid Base64-encoded JSON object.")


def _refuse_durable(params: dict[str, Any]) -> None:
    if params.get("DurableExecutionName"):
        raise InvalidParameterValue("DurableExecutionName is given, but the function is not durable: that is not supported by Hanabi yet")
