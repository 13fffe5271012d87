"""Function URL configurations."""

from typing import Any

from hanabi.control.functions import Functions
from hanabi.control.model import Function, Url
from hanabi.control.url_index import UrlIndex
from hanabi.control.urls import add_url, change_url, check_owner, find_url, remove_url
from hanabi.edge.service import Call
from hanabi.services.lambda_.describe import describe_url
from hanabi.services.lambda_.pages import take_page
from hanabi.services.lambda_.targets import Qualified

DEFAULTS = {"InvokeMode": "BUFFERED"}  # named in answers to a question, but not to a change that does not give it


class UrlOperations:
    def __init__(self, functions: Functions, index: UrlIndex) -> None:
        self._functions = functions
        self._index = index

    async def create_function_url_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        check_owner(self._functions.get(name), qualifier)
        now_ms = self._functions.now_ms()
        function = await self._functions.change(name, lambda function: add_url(function, qualifier, params, now_ms))
        return self._describe(function, find_url(function, qualifier))

    async def get_function_url_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        url = find_url(self._functions.get(name), qualifier)
        return DEFAULTS | self._describe(self._functions.find(name), url)

    async def update_function_url_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        check_owner(self._functions.get(name), qualifier)
        now_ms = self._functions.now_ms()
        function = await self._functions.change(name, lambda function: change_url(function, qualifier, params, now_ms))
        return self._describe(function, find_url(function, qualifier))

    async def delete_function_url_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        find_url(self._functions.get(name), qualifier)
        await self._functions.change(name, lambda function: remove_url(function, qualifier))
        return {}

    async def list_function_url_configs(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        function = check_owner(self._functions.get(target[0]), None)
        urls = sorted(function.urls.values(), key=_sort_key)
        page, more = take_page(urls, _sort_key, params)
        return {"FunctionUrlConfigs": [DEFAULTS | self._describe(function, url) for url in page], **more}

    def _describe(self, function: Function, url: Url) -> dict[str, Any]:
        return describe_url(function, url, self._index.url_for(url.id))


def _sort_key(url: Url) -> str:
    return url.qualifier or "$LATEST"
