"""Environments for waiting callers: each caller begins a start, and gets whichever environment is ready first."""

import asyncio

from hanabi.base.tasks import Tasks, settle
from hanabi.contracts.functions import FunctionVersion
from hanabi.environment.environment import Environment
from hanabi.errors import ShuttingDown
from hanabi.fleet.environments import Environments
from hanabi.fleet.handover import Handover
from hanabi.fleet.starter import Starter, StartRequest
from hanabi.fleet.waiting import WaitingCallers
from hanabi.quotas import INIT_TIMEOUT_S


class Leases:
    """The leases. `tasks` are the fleet's: a start goes on after its caller was served otherwise, and ends with the fleet."""

    def __init__(self, environments: Environments, waiting: WaitingCallers, starter: Starter, handover: Handover, tasks: Tasks) -> None:
        self._environments = environments
        self._waiting = waiting
        self._starter = starter
        self._handover = handover
        self._tasks = tasks

    async def lease(self, version: FunctionVersion) -> Environment:
        """Get a new environment, or one that becomes free earlier. Raises as `Starter.start`."""
        if self._environments.stopped:
            raise ShuttingDown()
        if version.tenant_environments_max:
            self._environments.check_tenant(version)
        key = version.key
        waiter = self._waiting.add(key)
        self._tasks.spawn(self._start(version))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._handover.offer(waiter.result())
            raise
        finally:
            self._waiting.remove(key, waiter)
            self._environments.budget.review()  # a start for it may be waiting still

    async def _start(self, version: FunctionVersion) -> None:
        """Start an environment for a waiting caller."""
        key = version.key
        request = StartRequest(version, INIT_TIMEOUT_S, wanted=lambda: self._waiting.is_awaited(key))
        try:
            try:
                await self._environments.finishing.grace(key)
                environment = await self._starter.start(request)
            finally:  # at once: the number of waiting callers decides which starts are wanted
                self._waiting.start_ended(key)
        except Exception as error:
            if waiter := self._waiting.pop(key):
                settle(waiter, error)
        else:
            if environment is not None:
                self._handover.offer(environment)

    async def start(self, request: StartRequest) -> Environment:
        """Start an environment for this caller only. Raises as `Starter.start`, and `ShuttingDown`."""
        task = self._tasks.own(self._starter.start(request))
        try:
            environment = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or not current.cancelling():  # it was the task that was cancelled, not its caller
                self._environments.refuse_when_closing()
            raise
        assert environment is not None
        return environment
