"""Writes a tiny chat model with random weights that a real vLLM serves on a CPU. Nothing is downloaded.

Run with vLLM's own Python, which has the packages: `python tiny_model.py FOLDER`. A two-layer Qwen3 with a small
byte-level vocabulary; its generation defaults (0.6, 20, 0.95) make server-side defaults visible. The words
`<think>` and `<tool_call>` are single tokens, so that the reasoning and tool parsers have something to parse.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD_SIZE = 64, 128, 2, 2, 1, 32
CONTEXT = 16384
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

TEMPLATE = """{% if tools %}<|im_start|>system
You may call: {{ tools | tojson }}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content if message.content is string else "" }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""


def sentences() -> list[str]:
    """Enough different text for a small vocabulary."""
    things = [
        "lamp",
        "garden",
        "letter",
        "bridge",
        "kettle",
        "harbour",
        "ladder",
        "pencil",
        "forest",
        "clock",
    ]
    deeds = ["holds", "moves", "turns", "finds", "carries", "paints", "mends", "hides"]
    kinds = ["green", "quiet", "heavy", "round", "early", "simple", "bright"]
    plain = [
        f"A {kind} {one} {deed} the {other} at {number}."
        for number, (kind, one, deed, other) in enumerate(
            (k, a, d, b) for k in kinds for a in things for d in deeds for b in things if a != b
        )
    ]
    return plain + ['{"city": "Oslo", "count": 3, "list": [1, 2], "done": true}'] * 40


def tokenizer() -> Tokenizer:
    """A byte-level BPE over the sentences."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet)
    made.train_from_iterator(sentences(), trainer)
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return made


def weights(vocabulary: int) -> dict[str, numpy.ndarray]:
    """Random tensors under Qwen3's names."""
    random = numpy.random.default_rng(11)

    def normal(*shape: int, scale: float = 0.2) -> numpy.ndarray:
        return (random.standard_normal(shape) * scale).astype(numpy.float32)

    def ones(size: int) -> numpy.ndarray:
        return numpy.ones(size, numpy.float32)

    tensors = {
        "model.embed_tokens.weight": normal(vocabulary, HIDDEN, scale=1.0),
        "lm_head.weight": normal(vocabulary, HIDDEN),
        "model.norm.weight": ones(HIDDEN),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        tensors |= {
            f"{at}input_layernorm.weight": ones(HIDDEN),
            f"{at}post_attention_layernorm.weight": ones(HIDDEN),
            f"{at}self_attn.q_norm.weight": ones(HEAD_SIZE),
            f"{at}self_attn.k_norm.weight": ones(HEAD_SIZE),
            f"{at}self_attn.q_proj.weight": normal(HEADS * HEAD_SIZE, HIDDEN),
            f"{at}self_attn.k_proj.weight": normal(KV_HEADS * HEAD_SIZE, HIDDEN),
            f"{at}self_attn.v_proj.weight": normal(KV_HEADS * HEAD_SIZE, HIDDEN),
            f"{at}self_attn.o_proj.weight": normal(HIDDEN, HEADS * HEAD_SIZE),
            f"{at}mlp.gate_proj.weight": normal(INNER, HIDDEN),
            f"{at}mlp.up_proj.weight": normal(INNER, HIDDEN),
            f"{at}mlp.down_proj.weight": normal(HIDDEN, INNER),
        }
    return tensors


def write(folder: Path) -> None:
    """All files that vLLM reads."""
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    words.save(str(folder / "tokenizer.json"))
    end, pad = words.token_to_id("<|im_end|>"), words.token_to_id("<|endoftext|>")
    vocabulary = -(-words.get_vocab_size() // 64) * 64
    save_file(weights(vocabulary), str(folder / "model.safetensors"), metadata={"format": "pt"})
    files = {
        "config.json": {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": vocabulary,
            "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_SIZE,
            "max_position_embeddings": CONTEXT, "hidden_act": "silu", "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False,
            "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True, "eos_token_id": end,
            "pad_token_id": pad, "torch_dtype": "float32", "dtype": "float32",
        },
        "generation_config.json": {
            "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
            "eos_token_id": [end, pad], "pad_token_id": pad,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>", "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False,
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
