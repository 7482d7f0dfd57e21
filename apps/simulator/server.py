"""The simulated provider: its operations, its control and its bill, on top of ``http.Server``."""

from __future__ import annotations

import asyncio
import html
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import Any

from apps.simulator import answers, openai
from apps.simulator.behaviour import Control, Resolved, ScenarioError
from apps.simulator.bill import Bill, RequestLine
from apps.simulator.faults import OK, Fault, FaultError
from apps.simulator.formats import OPENAI, format_of, listing_of
from apps.simulator.http import App, Exchange, Server, Step
from apps.simulator.media import MediaCall, media_of
from apps.simulator.wire import JSON, Asked, Format, Knock

_STATUS_MESSAGES: dict[int, tuple[str, str | None]] = {
    400: ("Invalid request (simulated).", "invalid_request"),
    401: ("Incorrect API key provided (simulated).", "invalid_api_key"),
    403: ("You are not allowed to do this (simulated).", "permission_denied"),
    402: ("Your account has no credit left (simulated).", "insufficient_quota"),
    404: ("The model does not exist or you do not have access to it (simulated).", "model_not_found"),
    408: ("The request timed out (simulated).", "request_timeout"),
    413: ("The request is too large (simulated).", "request_too_large"),
    422: ("The request cannot be processed (simulated).", "unprocessable_entity"),
    429: ("Rate limit reached (simulated).", "rate_limit_exceeded"),
}
_BODY_MESSAGES = {
    "context_length": (
        "This model's maximum context length is 8192 tokens (simulated). Please reduce the length of the messages.",
        "context_length_exceeded",
    ),
    "content_filter": (
        "The response was filtered due to the prompt triggering the content management policy (simulated).",
        "content_filter",
    ),
    "quota": (
        "You exceeded your current quota, please check your plan and billing details (simulated).",
        "insufficient_quota",
    ),
}
_ERROR_MESSAGE = ("The server had an error while processing your request (simulated).", None)


class Simulator(App):
    """One simulated provider. Single-threaded: all calls on the event loop that runs it."""

    def __init__(self, name: str, *, seed: int = 0, scenario: bytes | None = None) -> None:
        """Raises ScenarioError."""
        self.name = name
        self.control = Control(seed=seed, scenario=scenario)
        self.bill = Bill()
        self._server = Server(self)
        self._ordinal = 0
        self._voice = zlib.crc32(name.encode())
        """Two simulators do not say the same to requests of the same number."""
        self._boot = os.urandom(4).hex()
        self._started = int(time.time())
        self._clock: Callable[[], float] = time.monotonic
        self._marker = b"x-bulkhead-simulated: %b\r\n" % name.encode()
        self._routes: dict[str, tuple[str, Callable[[Exchange], None]]] = {
            "/v1/embeddings": ("POST", self._embeddings),
            "/sim/control": ("GET, PUT", self._control),
            "/sim/bill": ("GET", self._bill),
            "/sim/reset": ("POST", self._reset),
            "/healthz": ("GET", self._health),
            "/api/version": ("GET", self._version),
            "/": ("GET", self._index),
        }

    @property
    def port(self) -> int:
        return self._server.port

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises OSError where the port is taken."""
        self._clock = asyncio.get_running_loop().time
        await self._server.start(host, port)

    async def stop(self) -> None:
        await self._server.stop()

    # App

    def refuses_connection(self) -> bool:
        scenario = self.control.scenario
        if scenario.reset_connections:
            scenario.reset_connections -= 1
            return True
        return False

    def handle(self, exchange: Exchange) -> None:
        route = self._routes.get(exchange.path)
        found = format_of(exchange.path) if route is None else None
        if found is not None:
            route = ("POST", partial(self._chat, *found))
        media = media_of(exchange.path) if route is None else None
        if media is not None:
            route = ("POST", partial(self._media, media))
        if route is None and listing_of(exchange.path, exchange.query, exchange.headers) is not None:
            route = ("GET", self._models)
        if route is None and exchange.path.startswith("/v1/models/"):
            route = ("GET", self._model)
        if route is None:
            self._error(exchange, 404, f"Invalid URL ({exchange.method} {exchange.path})", code="unknown_url")
            return
        methods, operation = route
        method = "GET" if exchange.method == "HEAD" else exchange.method
        if method not in methods:
            self._error(
                exchange,
                405,
                f"Not allowed to {exchange.method} on {exchange.path}: {methods}",
                headers=b"allow: %b\r\n" % methods.encode(),
            )
            return
        if exchange.path.startswith("/sim/") and not _is_loopback(exchange.peer):
            self._error(exchange, 403, "The simulator is controlled from the host it runs on only")
            return
        operation(exchange)

    # the provider's operations

    def _chat(self, form: Format, match: re.Match[str], exchange: Exchange) -> None:
        self._serve(exchange, "chat", partial(self._chat_steps, form, match))

    def _embeddings(self, exchange: Exchange) -> None:
        self._serve(exchange, "embeddings", self._embeddings_steps)

    def _serve(self, exchange: Exchange, operation: str, steps: Callable[[Exchange, RequestLine], Iterator[Step]]) -> None:
        self._ordinal += 1
        headers = exchange.headers
        given = headers.get(b"x-bulkhead-request-id") or headers.get(b"x-request-id") or b""
        line = RequestLine(
            id=f"req-{self._boot}-{self._ordinal:08d}",
            request_id=given.decode("latin-1"),
            operation=operation,
            model="",
            outcome="ok",
            status=0,
            input_tokens=0,
            output_tokens=0,
            cost_nano=0,
            begun_at=time.time(),
        )
        self.bill.begin()

        def end(whole: bool) -> None:
            if not whole and line.outcome == "ok":
                line.outcome = "cancelled"
            self.bill.end(line, self.control.price_of(line.model))

        self._begin(exchange, line, steps(exchange, line), end)

    def _begin(self, exchange: Exchange, line: RequestLine, steps: Iterator[Step], end: Callable[[bool], None]) -> None:
        """Run a checked call's answer: at once, for a provider has room for everyone."""
        exchange.run(steps, end)

    def _answer(self, exchange: Exchange, line: RequestLine, resolved: Resolved, fault: Fault, form: Format) -> answers.Answer:
        return answers.Answer(
            exchange,
            line,
            resolved,
            fault,
            headers=self._headers(line.id),
            ordinal=self._ordinal,
            created=int(time.time()),
            clock=self._clock,
            form=form,
        )

    def _refusal(self, exchange: Exchange, line: RequestLine, refused: openai.Refused, form: Format = OPENAI) -> Iterator[Step]:
        answer = self._answer(exchange, line, self.control.of(""), OK, form)
        return answers.refusal(answer, refused.status, str(refused), param=refused.param, code=refused.code)

    def _admit(
        self, exchange: Exchange, line: RequestLine, call: openai.Call, form: Format = OPENAI
    ) -> tuple[answers.Answer, Iterator[Step] | None]:
        """The answer to a checked call, and the refusal that it meets instead, if it meets one. Raises Refused."""
        line.model = call.model
        self._authorize(exchange, form)
        scenario = self.control.scenario
        if scenario.only_served and call.model not in scenario.served:
            raise openai.Refused(f"The model `{call.model}` does not exist (simulated).", status=404, param="model", code="model_not_found")
        try:
            resolved = self.control.of(call.model)
        except FaultError as error:
            raise openai.Refused(str(error), status=404, param="model", code="model_not_found") from None
        fault = call.fault if call.fault is not None else resolved.next_fault()
        if scenario.down:
            fault = Fault(kind="status", status=scenario.down)
        answer = self._answer(exchange, line, resolved, fault, form)
        if fault.kind != "status":
            return answer, None
        message, code = _BODY_MESSAGES.get(fault.body) or _STATUS_MESSAGES.get(fault.status, _ERROR_MESSAGE)
        return answer, answers.refusal(answer, fault.status, message, code=code)

    def _authorize(self, exchange: Exchange, form: Format) -> None:
        scenario = self.control.scenario
        knock = Knock(exchange.method, exchange.path, exchange.query, exchange.headers, exchange.body)
        form.admit(knock, scenario.api_keys, scenario.region)

    def _chat_steps(self, form: Format, match: re.Match[str], exchange: Exchange, line: RequestLine) -> Iterator[Step]:
        try:
            call = form.call(Asked(match, openai.read_body(exchange.body)))
            answer, refusal = self._admit(exchange, line, call, form)
        except openai.Refused as refused:
            return self._refusal(exchange, line, refused, form)
        if refusal is not None:
            return refusal
        choices, usage = self._said(answer, call)
        answer_id, output = form.identity + line.id[4:], usage["completion_tokens"]
        if call.stream:
            return answers.stream_answer(answer, form.events(answer_id, answer.created, call, usage), choices, output_tokens=output)
        told = None if answer.fault.kind == "missing_usage" else usage
        return answers.json_answer(answer, form.body(answer_id, answer.created, call, choices, told), output_tokens=output)

    def _said(self, answer: answers.Answer, call: openai.ChatCall) -> tuple[list[openai.Choice], dict[str, Any]]:
        """What is answered, and its usage as OpenAI says it."""
        fault, resolved = answer.fault, self.control.of(call.model)
        wanted = call.output_tokens
        if not resolved.behaviour.continues:
            call.begin_anew()
        if resolved.behaviour.calls_tools and call.forced_tool is None:
            call.forced_tool = call.offered_tool
        choices = []
        for index in range(call.choices):
            length = round(resolved.behaviour.output_tokens.draw(resolved.rng)) if wanted is None else wanted
            choices.append(openai.choice_of(call, min(length, openai.MAX_TOKENS), self._voice + answer.ordinal + index))
        answer.line.input_tokens = call.input_tokens
        output = sum(choice.tokens for choice in choices) + (fault.tokens if fault.kind == "overrun" else 0)
        return choices, openai.usage_object(call.input_tokens, output)

    def _embeddings_steps(self, exchange: Exchange, line: RequestLine) -> Iterator[Step]:
        try:
            call = openai.EmbeddingsCall(openai.read_body(exchange.body))
            answer, refusal = self._admit(exchange, line, call)
        except openai.Refused as refused:
            return self._refusal(exchange, line, refused)
        if refusal is not None:
            return refusal
        line.input_tokens = call.input_tokens
        body = openai.embeddings_body(call, answer.behaviour.embedding_dimensions, usage=answer.fault.kind != "missing_usage")
        return answers.json_answer(answer, body, output_tokens=0)

    def _media(self, made: Callable[[Exchange], MediaCall], exchange: Exchange) -> None:
        self._serve(exchange, getattr(made, "name", ""), partial(self._media_steps, made))

    def _media_steps(self, made: Callable[[Exchange], MediaCall], exchange: Exchange, line: RequestLine) -> Iterator[Step]:
        try:
            call = made(exchange)
            answer, refusal = self._admit(exchange, line, call)
        except openai.Refused as refused:
            return self._refusal(exchange, line, refused)
        if refusal is not None:
            return refusal
        line.input_tokens = call.input_tokens
        return call.steps(answer)

    def _models(self, exchange: Exchange) -> None:
        listing = listing_of(exchange.path, exchange.query, exchange.headers)
        if listing is not None and self._may_list(exchange, listing.form):
            self._json(exchange, listing.body(self.control.scenario.served, self._started))

    def _model(self, exchange: Exchange) -> None:
        if not self._may_list(exchange, OPENAI):
            return
        wanted = exchange.path.removeprefix("/v1/models/")
        if wanted in self.control.scenario.served:
            model = {"id": wanted, "object": "model", "created": self._started, "owned_by": "bulkhead-simulator", openai.SIMULATED: True}
            self._json(exchange, openai.encode(model))
        else:
            self._error(exchange, 404, f"The model '{wanted}' does not exist", param="model", code="model_not_found")

    def _may_list(self, exchange: Exchange, form: Format) -> bool:
        """Whether it is told the models; the refusal is sent where it is not."""
        down = self.control.scenario.down
        try:
            self._authorize(exchange, form)
            if down:
                message, code = _STATUS_MESSAGES.get(down, _ERROR_MESSAGE)
                raise openai.Refused(message, status=down, code=code)
        except openai.Refused as refused:
            headers = self._headers("") + form.error_headers(refused.status, refused.code) + JSON
            body = form.error_body(refused.status, str(refused), param=refused.param, code=refused.code)
            exchange.send(refused.status, headers, body)
            return False
        return True

    # the simulator's own

    def _control(self, exchange: Exchange) -> None:
        if exchange.method == "PUT":
            try:
                self.control.update(exchange.body)
            except ScenarioError as error:
                self._error(exchange, 400, str(error), code="invalid_scenario")
                return
        state = {"name": self.name, "seed": self.control.seed, openai.SIMULATED: True}
        self._json(exchange, openai.encode(state)[:-1] + b"," + openai.encode(self.control.scenario)[1:])

    def _bill(self, exchange: Exchange) -> None:
        bill = {"name": self.name, openai.SIMULATED: True, **self.bill.as_dict(requests="seen=no" not in exchange.query.split("&"))}
        self._json(exchange, openai.encode(bill))

    def _reset(self, exchange: Exchange) -> None:
        """Bill, scripts and chance begin anew; the scenario stays."""
        self.bill.reset()
        self.control.restart()
        self._json(exchange, openai.encode({"reset": True, openai.SIMULATED: True}))

    def _health(self, exchange: Exchange) -> None:
        self._json(exchange, openai.encode({"status": "ok", "name": self.name, openai.SIMULATED: True}))

    def _version(self, exchange: Exchange) -> None:
        """Ollama's, which asks for no key."""
        self._json(exchange, openai.encode({"version": "0.0.0-simulated", openai.SIMULATED: True}))

    def _index(self, exchange: Exchange) -> None:
        name = html.escape(self.name)
        body = (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}: simulation</title>"
            f"<h1>{name}: a simulated provider</h1><p><strong>This is a simulation.</strong> Its answers are made up and cost nothing. "
            "It speaks OpenAI's formats and Anthropic's at <code>/v1</code>, Gemini's at <code>/v1beta</code>, Vertex's at "
            "<code>/v1/projects</code>, Azure's at <code>/openai</code>, Bedrock's at <code>/model</code>, Cohere's at <code>/v2</code>, "
            "Ollama's at <code>/api</code>."
            "<ul><li><a href=/sim/control>/sim/control</a>: behaviour (GET, PUT)"
            "<li><a href='/sim/bill?seen=no'>/sim/bill</a>: what it served<li>/sim/reset (POST): begin anew</ul></html>\n"
        )
        exchange.send(200, self._headers("") + b"content-type: text/html; charset=utf-8\r\n", body.encode())

    def _headers(self, request_id: str) -> bytes:
        return self._marker + (b"x-request-id: %b\r\nopenai-processing-ms: 0\r\n" % request_id.encode() if request_id else b"")

    def _json(self, exchange: Exchange, body: bytes) -> None:
        exchange.send(200, self._headers("") + JSON, body)

    def _error(
        self, exchange: Exchange, status: int, message: str, *, param: str | None = None, code: str | None = None, headers: bytes = b""
    ) -> None:
        exchange.send(status, self._headers("") + headers + JSON, openai.error_body(status, message, param=param, code=code))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
