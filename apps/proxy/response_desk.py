"""The addresses of Responses: asking for one, and what may be done with those that are kept.

``POST /v1/responses``, ``GET`` and ``DELETE /v1/responses/{id}``, ``GET /v1/responses/{id}/input_items``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from apps.contracts.errors import CODES, error_body
from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.response_caller import ResponsesCaller
from apps.proxy.response_shelf import STEP

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.response_shelf import ResponseShelf, Turn

BASE = "/v1/responses"
UNDER = BASE + "/"
JSON = b"content-type: application/json\r\n"
ITEMS = "input_items"
PAGE, MOST_PAGE = 20, 100
"""Items listed at once, where the app does not say how many, and at most."""
_MARK = b'"previous_response_id"'
_KINDS = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


class ResponseDesk:
    def __init__(self, engine: Engine, shelf: ResponseShelf) -> None:
        self._engine = engine
        self._shelf = shelf

    def __call__(self, request: Request, reply: Reply) -> None:
        path = request.path
        if path == BASE:
            if request.method != "POST":
                self._wrong_method(reply, "POST")
            elif _MARK in request.body:
                self._spawn(self._continue(request, reply))
            else:
                self._engine.handle("chat", request, reply, ResponsesCaller(self._shelf))
            return
        ident, _, rest = path[len(UNDER) :].partition("/")
        ident = unquote(ident)
        if rest == "cancel":
            message = "Only responses that are made in the background can be cancelled, and none are: leave the stream instead."
            self._refuse(reply, Refusal("unsupported_operation", STEP, message))
        elif rest not in ("", ITEMS) or not ident:
            self._refuse(reply, Refusal("not_found", STEP, "Of a stored response there are /v1/responses/{id} and its /input_items."))
        elif request.method not in (("GET", "HEAD") if rest else ("GET", "HEAD", "DELETE")):
            self._wrong_method(reply, "GET" if rest else "GET, DELETE")
        else:
            key = self._engine.authenticator.key_of(request.headers, self._engine.holder.current, request.peer)
            if isinstance(key, Refusal):
                self._refuse(reply, key)
            elif request.method == "DELETE":
                self._spawn(self._delete(reply, key.id, ident))
            else:
                self._spawn(self._get(request, reply, key.id, ident, items=bool(rest)))

    async def _continue(self, request: Request, reply: Reply) -> None:
        """A request that names an earlier response: found before anything else, because the plan and its money are of all of it."""
        engine = self._engine
        earlier: Sequence[Turn] | Refusal | None = None
        asked = json_object(request.body)
        previous = asked.get("previous_response_id") if asked is not None else None
        if type(previous) is str:
            key = engine.authenticator.key_of(request.headers, engine.holder.current, request.peer)
            if not isinstance(key, Refusal):  # else the request is refused for that
                earlier = await self._shelf.turns(key.id, previous, continued=True)
        if not reply.gone:
            engine.handle("chat", request, reply, ResponsesCaller(self._shelf, earlier))

    async def _get(self, request: Request, reply: Reply, key_id: str, ident: str, *, items: bool) -> None:
        query = dict(parse_qsl(request.query.decode("latin-1")))
        if query.get("stream") == "true":
            message = "A stored response is given whole, not streamed again: leave 'stream' out."
            self._refuse(reply, Refusal("unsupported_operation", STEP, message, "stream"))
            return
        found = await self._shelf.turns(key_id, ident, continued=False)
        if isinstance(found, Refusal):
            self._refuse(reply, found)
        elif not items:
            reply.send(200, JSON, written(found[-1].response))
        else:
            page = _page(_listed(found), query)
            if isinstance(page, Refusal):
                self._refuse(reply, page)
            else:
                reply.send(200, JSON, written(page))

    async def _delete(self, reply: Reply, key_id: str, ident: str) -> None:
        refusal = await self._shelf.drop(key_id, ident)
        if refusal is not None:
            self._refuse(reply, refusal)
        else:
            reply.send(200, JSON, written({"id": ident, "object": "response", "deleted": True}))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        engine = self._engine
        task = engine.loop.create_task(work)
        engine.background.add(task)
        task.add_done_callback(engine.background.discard)

    def _wrong_method(self, reply: Reply, allowed: str) -> None:
        reply.send(405, JSON + b"allow: %b\r\n" % allowed.encode(), error_body("method_not_allowed", f"Use {allowed} here."))

    def _refuse(self, reply: Reply, refusal: Refusal) -> None:
        code = CODES[refusal.code]
        head = JSON if code.retry else JSON + b"x-should-retry: false\r\n"
        if code.status == 401:
            head += b"www-authenticate: Bearer\r\n"
        version = self._engine.holder.current.version
        reply.send(
            code.status, head, error_body(refusal.code, refusal.message, param=refusal.param, step=refusal.step, config_version=version)
        )


def _listed(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """All items that the last turn was asked with, in their order, each with an id."""
    found: list[dict[str, Any]] = []
    for turn in turns:
        tail = str(turn.response.get("id", "")).removeprefix("resp_")
        said = turn.response.get("output") if turn is not turns[-1] else None
        for number, item in enumerate([*turn.input, *(said if type(said) is list else ())]):
            if type(item) is dict:
                kind = item.get("type") or "message"
                found.append({"id": f"{_KINDS.get(kind, 'item')}_{tail}_in{number}", **_filled(item, kind)})
    return found


def _filled(item: dict[str, Any], kind: str) -> dict[str, Any]:
    """An item with what apps may leave out of it."""
    if kind != "message":
        return {"status": "completed", **item}
    content = item.get("content")
    if type(content) is str:
        said: dict[str, Any] = {"type": "input_text", "text": content}
        if item.get("role") == "assistant":
            said = {"type": "output_text", "text": content, "annotations": []}
        content = [said]
    return {"status": "completed", **item, "type": kind, "content": content}


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any] | Refusal:
    """A page as OpenAI gives lists: ``limit``, ``order`` (newest first where it is not said), ``after``."""
    text, order, after = query.get("limit", str(PAGE)), query.get("order", "desc"), query.get("after")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_PAGE:
        return Refusal("invalid_field", STEP, f"'limit' must be a whole number from 1 to {MOST_PAGE}.", "limit")
    if order not in ("asc", "desc"):
        return Refusal("invalid_field", STEP, "'order' must be 'asc' or 'desc'.", "order")
    if order == "desc":
        items = items[::-1]
    if after is not None:
        place = next((place for place, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            return Refusal("invalid_field", STEP, f"There is no item {after[:200]!r} in this response.", "after")
        items = items[place + 1 :]
    shown = items[: int(text)]
    ends = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {"object": "list", "data": shown, "first_id": ends[0], "last_id": ends[1], "has_more": len(items) > len(shown)}
