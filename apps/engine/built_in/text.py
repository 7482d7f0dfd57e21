"""Tokens to text as they come, and prompts to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from apps.engine.backend import Prompt
from apps.engine.errors import Refused

PATIENCE = 16
"""Tokens without text, as of a character that takes several, until what there is is shown as it is: a model may write bytes that never
become one."""


class Writer:
    """One answer's text. tokenizer: of the library ``tokenizers``. Special tokens write nothing."""

    __slots__ = ("_pending", "_stream", "_tokenizer")

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._pending: list[int] = []

    def add(self, token: int) -> str:
        try:
            text = self._stream.step(self._tokenizer, token)
        except Exception:  # what came before cannot be taken up again, as after bytes that are no text: begin anew
            self._stream, text = DecodeStream(skip_special_tokens=True), None
        if text is not None:
            self._pending.clear()
            return str(text)
        self._pending.append(token)
        return self.rest() if len(self._pending) >= PATIENCE else ""

    def rest(self) -> str:
        """What is still held back, with a sign for what is no text."""
        if not self._pending:
            return ""
        text = self._tokenizer.decode(self._pending, skip_special_tokens=True)
        self._pending.clear()
        self._stream = DecodeStream(skip_special_tokens=True)
        return str(text)


class Prompts:
    """tokenizer: of the library ``transformers``, a fast one. context: tokens of a prompt and its answer. May be asked in any thread."""

    def __init__(self, tokenizer: Any, context: int, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._vocabulary = vocabulary

    def chat(self, messages: Sequence[dict[str, object]], max_tokens: int | None) -> Prompt:
        if not self._tokenizer.chat_template:
            raise Refused("This model has no chat template: call /v1/completions.", param="messages")
        try:
            text = self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except Exception as error:  # templates refuse in words of their own: roles that do not alternate, a second system message
            raise Refused(f"The model's chat template refuses these messages: {str(error)[:300]}", param="messages") from None
        return self._sized(self._tokenizer.encode(text, add_special_tokens=False), max_tokens, "messages")

    def plain(self, given: str | Sequence[int], max_tokens: int | None) -> Prompt:
        if isinstance(given, str):
            return self._sized(self._tokenizer.encode(given), max_tokens, "prompt")
        if not all(0 <= token < self._vocabulary for token in given):
            raise Refused(f"This model's tokens are numbers from 0 to {self._vocabulary - 1:,}.", param="prompt")
        return self._sized(given, max_tokens, "prompt")

    def _sized(self, tokens: Sequence[int], max_tokens: int | None, param: str) -> Prompt:
        room = self._context - len(tokens)
        if room < 1:
            message = f"The prompt has {len(tokens):,} tokens; the context of this engine is {self._context:,}, the answer counted in."
            raise Refused(message, param=param, code="context_length_exceeded")
        if not tokens:
            raise Refused("The prompt is empty.", param=param)
        return Prompt(tokens, min(room, max_tokens or room))
