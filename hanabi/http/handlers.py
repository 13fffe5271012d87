"""Adapter for handlers that are coroutines."""

import asyncio
import logging

from hanabi.contracts.http import NO_ANSWER, Answer, AsyncHttpHandler, HttpHandler, HttpRequest, HttpResponse
from hanabi.errors import BodyError
from hanabi.http.response import plain

log = logging.getLogger(__name__)


def in_task(handler: AsyncHttpHandler) -> HttpHandler:
    """Handle each request in its own task, which `request.cancel` cancels. A cancelled one gives no answer."""

    def handle(request: HttpRequest, answer: Answer) -> None:
        def end(task: asyncio.Task[HttpResponse]) -> None:
            request.cancel = None
            if task.cancelled():
                answer(NO_ANSWER)
            elif (error := task.exception()) is not None:
                if not isinstance(error, BodyError):  # else the client's body broke off; it gets the error if it still reads
                    log.error("unhandled error for %s %s", request.method, request.path, exc_info=error)
                answer(plain(500, "internal error"))
            else:
                answer(task.result())

        task = asyncio.get_running_loop().create_task(handler(request))
        task.add_done_callback(end)
        request.cancel = task.cancel

    return handle
