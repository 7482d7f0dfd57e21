"""A model with random weights, made on the spot: ``var/engine/bin/python -m tests.engine.random_model OUT --family bert``.

It is as large as asked for and computes as any of its size does; what it says means nothing. Runs in the engines' environment.
"""

from __future__ import annotations

import argparse
import json
import string
import sys
from pathlib import Path

WORDS = "the a of and to in is that it was for on are with as at be this have from water long little river bridge money bank".split()  # noqa: SIM905


def main() -> int:
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", default="bert")
    parser.add_argument("--task", default="embeddings", choices=["embeddings", "rerank", "classify"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=1_000)
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--labels", type=int, default=3)
    parser.add_argument("--matryoshka", default="")
    given = parser.parse_args()

    torch.manual_seed(3)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list(string.ascii_lowercase + string.digits + ".,:;!?'-()")
    known = [*special, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    known += [f"word{number}" for number in range(given.vocabulary - len(known))]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    labels = {"embeddings": 2, "rerank": 1, "classify": given.labels}[given.task]
    sizes = {
        "vocab_size": len(known), "hidden_size": given.hidden, "num_hidden_layers": given.layers, "num_attention_heads": given.hidden // 32,
        "intermediate_size": 4 * given.hidden, "max_position_embeddings": given.positions, "pad_token_id": 0, "num_labels": labels,
        "embedding_size": given.hidden, "dim": given.hidden, "n_layers": given.layers, "n_heads": given.hidden // 32,
        "hidden_dim": 4 * given.hidden,
        "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(given.family, **sizes)
    if given.matryoshka:
        config.matryoshka_dimensions = [int(size) for size in given.matryoshka.split(",")]
    kind = transformers.AutoModel if given.task == "embeddings" else transformers.AutoModelForSequenceClassification
    model = kind.from_config(config).eval()
    with torch.no_grad():  # as untrained, every answer would be nearly the same
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                weights.normal_(0.0, 0.08 if "embed" not in name else 0.5)
    model.save_pretrained(given.out)
    tokenizer.save(str(given.out / "tokenizer.json"))
    says = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": given.positions, "pad_token": "[PAD]", "unk_token": "[UNK]",
        "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }  # fmt: skip
    (given.out / "tokenizer_config.json").write_text(json.dumps(says))
    return 0


if __name__ == "__main__":
    sys.exit(main())
