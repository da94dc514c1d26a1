"""Which small models there are: one row for each way in which the decoders of the families differ.

Sizes are as small as the differences allow. Must not know: how weights are drawn, what is computed with them.
"""

# What most of them share; a row overrides it. 304 is the byte-level tokeniser's size, and embeddings may have more rows.
COMMON = {
    "vocab_size": 304,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def rope(theta, kind="default", **more):
    """Rotary settings as transformers 5 spells them."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {
    "factor": 2.5, "original_max_position_embeddings": 48, "beta_fast": 9.0, "beta_slow": 1.5, "mscale": 1.2,
    "mscale_all_dim": 0.4, "truncate": False,
}  # fmt: skip
QWEN2 = {"vocab_size": 312, "rms_norm_eps": 1e-6, **rope(1e6)}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}
# Ids of Gemma's tokeniser. 366 is its size. Attention is scaled by another number than the width of a head.
GEMMA = {"vocab_size": 368, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "tie_word_embeddings": True}


def two_ropes(theta, local, **more):
    """Gemma 3's: one for layers that see everything, one for those with a window."""
    everything = rope(theta, **more)["rope_parameters"]
    return {"rope_parameters": {"full_attention": everything, "sliding_attention": rope(local)["rope_parameters"]}}


# name -> family, configuration, and of the files around it:
#   gemma  the tokeniser is one of pieces with byte fallback, as Gemma's; byte-level without it
#   bos    the tokeniser puts a BOS before a text
#   chat   which of the templates in texts.py, if any
#   old    config.json is spelled as transformers 4 did (rope_theta, rope_scaling, torch_dtype), as most published ones are
#   eos    generation_config.json names several ends of an answer
#   generation  what else it says
#   shard  weights are cut into files of this many bytes
VARIANTS = {
    # Llama 1, 2 and Vicuna: a key for every query head
    "llama1": {"family": "llama", "config": {"num_key_value_heads": 4, **rope(1e4)}, "bos": True, "chat": "vicuna", "old": True},
    # Llama 3.1 and later: frequencies of all three kinds (kept, between, divided)
    "llama3": {
        "family": "llama",
        "config": {"num_attention_heads": 2, "num_key_value_heads": 1, **rope(5e5, "llama3", **LLAMA3)},
        "bos": True,
        "chat": "llama3",
        "eos": [1, 3],
    },
    "llama3-tied": {  # 3.2, in the older spelling
        "family": "llama",
        "config": {"head_dim": 16, "tie_word_embeddings": True, **rope(5e5, "llama3", **{**LLAMA3, "factor": 32.0})},
        "bos": True,
        "old": True,
    },
    "llama-linear": {"family": "llama", "config": rope(1e4, "linear", factor=2.5), "bos": True, "old": True},
    # YaRN by its defaults, as Qwen's pages tell how to switch it on; and by settings of its own
    "llama-yarn": {
        "family": "llama",
        "config": {"num_hidden_layers": 1, **rope(1e4, "yarn", factor=4.0, original_max_position_embeddings=32)},
        "bos": True,
        "old": True,
    },
    "qwen3-yarn": {
        "family": "qwen3",
        "config": {**QWEN2, "num_hidden_layers": 1, "head_dim": 16, **rope(1e6, "yarn", **YARN)},
        "generation": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 6, "suppress_tokens": [7, 8]},
    },
    # up to the last position that it leaves alone
    "llama-dynamic": {
        "family": "llama",
        "config": {"max_position_embeddings": 80, **rope(1e4, "dynamic", factor=4.0)},
        "bos": True,
    },
    "llama-biases": {
        "family": "llama",
        "config": {"attention_bias": True, "mlp_bias": True, "num_hidden_layers": 3, **rope(1e4)},
    },
    "smollm": {
        "family": "llama",
        "config": {"num_attention_heads": 6, "hidden_size": 48, "tie_word_embeddings": True, **rope(1e5)},
        "chat": "chatml",
        "eos": [3],
    },
    "qwen2": {"family": "qwen2", "config": {**QWEN2, "num_hidden_layers": 3}, "chat": "chatml", "old": True, "eos": [3, 1]},
    "qwen2-tied": {"family": "qwen2", "config": {**QWEN2, "tie_word_embeddings": True}},
    "qwen2-window": {"family": "qwen2", "config": {**QWEN2, **WINDOW}},
    # as its 0.5B: tied, many queries to a key, an end of its own for chats
    "qwen2.5": {
        "family": "qwen2",
        "config": {**QWEN2, "num_attention_heads": 8, "tie_word_embeddings": True, "use_sliding_window": False},
        "chat": "qwen2.5",
        "eos": [3, 1],
    },
    # heads wider than hidden_size / num_attention_heads
    "qwen3": {
        "family": "qwen3",
        "config": {**QWEN2, "head_dim": 16, "tie_word_embeddings": True},
        "chat": "chatml",
        "shard": 60_000,
    },
    "qwen3-window": {"family": "qwen3", "config": {**QWEN2, **WINDOW, "head_dim": 12, "attention_bias": True}},
    # version 0.1 has the window
    "mistral-window": {"family": "mistral", "config": {"sliding_window": 7, **rope(1e4)}, "bos": True, "chat": "mistral"},
    # 0.2 and later have none; Nemo's heads are narrower than hidden_size / num_attention_heads
    "mistral": {
        "family": "mistral",
        "config": {"sliding_window": None, "head_dim": 6, **rope(1e6)},
        "bos": True,
        "chat": "mistral",
        "old": True,
    },
    # every second layer has a window, from the first on; caps low enough to bend the scores and the logits
    "gemma2": {
        "family": "gemma2",
        "config": {
            **GEMMA, "num_hidden_layers": 3, "head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 7,
            "attn_logit_softcapping": 3.0, "final_logit_softcapping": 8.0, **rope(1e4),
        },
        "gemma": True, "bos": True, "chat": "gemma", "eos": [1, 6],
    },
    # no caps, and the keys that the first published models have beside those that count
    "gemma2-plain": {
        "family": "gemma2",
        "config": {
            **GEMMA, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 10,
            "query_pre_attn_scalar": 16, "sliding_window": 9, "sliding_window_size": 9, "attention_bias": True,
            "attn_logit_softcapping": None, "final_logit_softcapping": None, "tie_word_embeddings": False,
            "hidden_act": "gelu_pytorch_tanh", **rope(1e4, "linear", factor=2.0),
        },
        "gemma": True, "bos": True, "old": True,
    },
    # as 4B and larger: five layers with a window to one without, whose rope alone is stretched
    "gemma3": {
        "family": "gemma3_text",
        "config": {
            **GEMMA, "hidden_size": 24, "intermediate_size": 28, "num_hidden_layers": 7, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 64, "sliding_window": 9,
            **two_ropes(1e6, 1e4, kind="linear", factor=8.0),
        },
        "gemma": True, "bos": True, "chat": "gemma", "eos": [1, 6],
    },
    # the first spelling: the kinds of layers follow from one number
    "gemma3-pattern": {
        "family": "gemma3_text",
        "config": {
            **GEMMA, "num_hidden_layers": 4, "head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 7,
            "sliding_window_pattern": 3, **two_ropes(5e4, 2e3, kind="linear", factor=4.0),
        },
        "gemma": True, "bos": True, "chat": "gemma", "old": True,
    },
    # what no published model has, and the settings allow: kinds in no order, biases, a cap on the logits, a head of its own
    "gemma3-mixed": {
        "family": "gemma3_text",
        "config": {
            **GEMMA, "num_hidden_layers": 4, "num_key_value_heads": 4, "head_dim": 6, "query_pre_attn_scalar": 5,
            "sliding_window": 5, "attention_bias": True, "final_logit_softcapping": 6.0, "tie_word_embeddings": False,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            **two_ropes(1e5, 1e3),
        },
        "gemma": True, "bos": True,
    },
}
