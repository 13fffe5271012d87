"""What becomes of an environment that is free, or has ended by itself: it is handed to who waits, kept idle, reset or ended."""

from functools import partial

from hanabi.base.tasks import Tasks
from hanabi.environment.environment import Environment
from hanabi.errors import ShuttingDown
from hanabi.fleet.environments import Environments
from hanabi.fleet.waiting import WaitingCallers

RETIRED_KEPT = 4096  # keys: each matters only as long as an invocation that began before its end


class Handover:
    """`take_idle` and `release` are the warm path."""

    def __init__(self, environments: Environments, waiting: WaitingCallers, tasks: Tasks) -> None:
        self._environments = environments
        self._idle = environments.idle
        self._finishing = environments.finishing
        self._waiting = waiting
        self._tasks = tasks
        self._retired: dict[str, None] = {}  # in order

    def take_idle(self, key: str) -> Environment | None:
        """A provisioned idle environment, else the most recently used, or None. Raises `ShuttingDown`."""
        if self._environments.stopped:
            raise ShuttingDown()
        while (environment := self._idle.take(key)) is not None:
            if environment.state.usable:
                return environment
            self._environments.discard(environment)
        return None

    def release(self, environment: Environment, *, reusable: bool) -> None:
        """An invocation is over."""
        if not reusable or not environment.state.usable:
            self.on_gone(environment, reset=reusable)
        elif environment.ready:
            self._place(environment)
        else:
            self._finishing.add(environment)
            environment.finish(partial(self._finished, environment))

    def _finished(self, environment: Environment) -> None:
        """Its runtime is ready for the next invocation."""
        self._finishing.remove(environment)
        self.release(environment, reusable=True)

    def offer(self, environment: Environment) -> None:
        """It is ready, or has died meanwhile, and is nobody's."""
        if environment.state.usable:
            self._place(environment)
        else:
            self._environments.discard(environment)

    def _place(self, environment: Environment) -> None:
        """One who waits gets it at once, else it is kept idle, if it is to be kept."""
        environments, version = self._environments, environment.version
        assert version is not None
        contended = environments.budget.contended
        if environments.closing:
            environments.discard(environment)
        elif contended and environments.budget.overdue and environment.invocations and not environment.provisioned:
            environments.discard(environment)  # else those who keep it busy would never let a larger one in
        elif waiter := self._waiting.pop(version.key):
            environment.hand_over()
            waiter.set_result(environment)
        elif version.key in self._retired or (environment.provisioned and not environments.targets.is_wanted(environment)):
            environments.discard(environment)
        else:
            environment.mark_idle()
            self._idle.put(environment)
            environment.arm_freeze()
            if contended:
                environments.make_room()

    def retire(self, key: str) -> None:
        """A version will never be invoked again: its environments go as soon as they are free."""
        self._retired[key] = None
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]
        for environment in self._idle.of(key):
            self._environments.discard(environment)

    def on_gone(self, environment: Environment, reset: bool = False) -> None:
        """It ended by itself. `reset`: a function's may go on with its sandbox, if that can be."""
        if environment.version is None:
            self._environments.pooled_died = True
        if reset and environment.version is not None and not environment.provisioned and environment in self._environments:
            self._idle.remove(environment)
            self._tasks.spawn(self._reset(environment))
        else:
            self._environments.discard(environment)

    async def _reset(self, environment: Environment) -> None:
        """It goes on without its processes, or ends."""
        reusable = False
        try:
            reusable = await environment.reset()
        finally:
            self._finishing.remove(environment)
            self.release(environment, reusable=reusable)
