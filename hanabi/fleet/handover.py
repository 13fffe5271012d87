"""What happens to an environment that becomes free or has ended by itself: handed to a waiting caller, kept idle, reset or ended."""

from functools import partial

from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import TENANT_MARK, FunctionVersion
from hanabi.environment.environment import Environment
from hanabi.errors import ShuttingDown
from hanabi.fleet.environments import Environments
from hanabi.fleet.waiting import WaitingCallers

RETIRED_KEPT = 4096  # keys: each matters only as long as an invocation that began before its end


class Handover:
    """Passes environments on. `take_idle` and `release` are the warm path."""

    def __init__(self, environments: Environments, waiting: WaitingCallers, tasks: Tasks) -> None:
        self._environments = environments
        self._idle = environments.idle
        self._finishing = environments.finishing
        self._waiting = waiting
        self._tasks = tasks
        self._retired: dict[str, None] = {}  # in order

    def take_idle(self, key: str) -> Environment | None:
        """Take a provisioned idle environment, else the most recently used, or None. Raises `ShuttingDown`."""
        if self._environments.stopped:
            raise ShuttingDown()
        while (environment := self._idle.take(key)) is not None:
            if environment.state.usable:
                return environment
            self._environments.discard(environment)
        return None

    def release(self, environment: Environment, *, reusable: bool) -> None:
        """Take back an environment after its invocation."""
        if not reusable or not environment.state.usable:
            self.on_gone(environment, reset=reusable)
        elif environment.ready:
            self._place(environment)
        else:
            self._finishing.add(environment)
            environment.finish(partial(self._finished, environment))

    def _finished(self, environment: Environment) -> None:
        """Release one whose runtime is ready for the next invocation."""
        self._finishing.remove(environment)
        self.release(environment, reusable=True)

    def offer(self, environment: Environment) -> None:
        """Take in an environment that nobody holds: ready, or dead meanwhile."""
        if environment.state.usable:
            self._place(environment)
        else:
            self._environments.discard(environment)

    def _place(self, environment: Environment) -> None:
        """Hand it to a waiting caller, else keep it idle if it is to be kept, else end it."""
        environments, version = self._environments, environment.version
        assert version is not None
        contended = environments.budget.contended
        if environments.closing:
            environments.discard(environment)
        elif contended and environments.budget.overdue and environment.invocations and not environment.provisioned:
            environments.discard(environment)  # else callers that keep it busy would starve a larger one
        elif waiter := self._waiting.pop(version.key):
            environment.hand_over()
            waiter.set_result(environment)
        elif (
            version.key in self._retired
            or (version.tenant and self._is_tenant_of_retired(version))
            or (environment.provisioned and not environments.targets.is_wanted(environment))
        ):
            environments.discard(environment)
        else:
            environment.mark_idle()
            self._idle.put(environment)
            environment.arm_freeze()
            if contended:
                environments.make_room()

    def _is_tenant_of_retired(self, version: FunctionVersion) -> bool:
        return version.key.partition(TENANT_MARK)[0] in self._retired

    def retire(self, key: str) -> None:
        """End a version's environments as soon as they are free: it will never be invoked again."""
        self._retired[key] = None
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]
        for environment in self._idle.of(key):
            self._environments.discard(environment)

    def on_gone(self, environment: Environment, reset: bool = False) -> None:
        """Handle one that ended by itself. `reset`: a function's may keep its sandbox and be reset."""
        if environment.version is None:
            self._environments.pooled_died = True
        if reset and environment.version is not None and not environment.provisioned and environment in self._environments:
            self._idle.remove(environment)
            self._tasks.spawn(self._reset(environment))
        else:
            self._environments.discard(environment)

    async def _reset(self, environment: Environment) -> None:
        """Reset it; end it if that fails."""
        reusable = False
        try:
            reusable = await environment.reset()
        finally:
            self._finishing.remove(environment)
            self.release(environment, reusable=reusable)
