"""The answer of an `HttpHandler`, waited for."""

import asyncio

from hanabi.contracts.http import HttpHandler, HttpRequest, HttpResponse


async def answer_of(handler: HttpHandler, request: HttpRequest) -> HttpResponse:
    answered: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    handler(request, answered.set_result)  # a second answer would raise
    async with asyncio.timeout(60):
        return await answered
