"""``python -m apps.engine.built_in.tiny DIRECTORY``: a tiny Llama with random weights, made on the spot from nothing.

It has learnt nothing and says nothing of sense; its files are those of any model: a config, a tokenizer with a chat template, safetensors.
Nothing is downloaded. Made the same way each time: the same seed, the same files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TEXT = (
    "the quick brown fox jumps over the lazy dog and a ship with many walls stays afloat when one of its rooms is full of water "
    "this small model has learnt nothing its weights are random numbers so what it writes is a row of syllables without any sense "
    "question answer hello world please tell me about the weather today tomorrow never always again because every stream must end "
)
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|unknown|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
DONE = ".made"
"""Beside the model once it is whole."""
NOTE = "Random weights: this model was made on the spot to try an engine, has learnt nothing, and what it writes has no meaning.\n"


def made(
    directory: Path, *, hidden: int = 128, inner: int = 0, layers: int = 2, heads: int = 4, kv_heads: int = 2, context: int = 4_096,
    vocabulary: int = 0, dtype: str = "float32", seed: int = 0,
) -> Path:  # fmt: skip
    """Write the model there; nothing where it is there already. inner, vocabulary: 0: twice the hidden size, as many as the tokenizer has.
    Needs the engine's packages."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    if (directory / DONE).exists():
        return directory
    logging.disable_progress_bar()
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE(unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    plain = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter.isascii() or letter in "\u0120\u010a"]  # space, line end
    trainer = trainers.BpeTrainer(vocab_size=512, initial_alphabet=plain, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator([TEXT, TEXT.title(), TEXT.upper()], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", unk_token="<|unknown|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    end = fast.eos_token_id
    config = LlamaConfig(
        vocab_size=max(vocabulary, len(fast)), hidden_size=hidden, intermediate_size=inner or 2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=context, bos_token_id=end, eos_token_id=end,
        pad_token_id=end, dtype=dtype,
    )  # fmt: skip
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(directory)
    (directory / "README.md").write_text(NOTE)
    (directory / DONE).touch()
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m apps.engine.built_in.tiny")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    arguments = parser.parse_args()
    made(arguments.directory, hidden=arguments.hidden, layers=arguments.layers, heads=arguments.heads)
    print(f"{arguments.directory}: a Llama with random weights, which has learnt nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
