"""Makes the .bin files of this folder: run it here, in an environment with torch and safetensors.

One tiny model in every form that torch.save has for it, beside the same model as safetensors, and files that
must be refused. Values are small whole numbers over 8, so that every format holds them exactly.
"""

import collections
import json
import os
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
HIDDEN, INNER, VOCABULARY, KV = 8, 12, 16, 4
CONFIG = {
    "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32, "tie_word_embeddings": False,
}
LAYER = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": (VOCABULARY, HIDDEN), LAYER + "input_layernorm.weight": (HIDDEN,),
    LAYER + "post_attention_layernorm.weight": (HIDDEN,), LAYER + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
    LAYER + "self_attn.k_proj.weight": (KV, HIDDEN), LAYER + "self_attn.v_proj.weight": (KV, HIDDEN),
    LAYER + "self_attn.o_proj.weight": (HIDDEN, HIDDEN), LAYER + "mlp.gate_proj.weight": (INNER, HIDDEN),
    LAYER + "mlp.up_proj.weight": (INNER, HIDDEN), LAYER + "mlp.down_proj.weight": (HIDDEN, INNER),
    "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN),
}
FORMATS = [torch.float32, torch.float16, torch.bfloat16]

torch.manual_seed(0)
tensors = collections.OrderedDict(
    (name, (torch.randint(-40, 41, shape) / 8).to(FORMATS[n % 3])) for n, (name, shape) in enumerate(SHAPES.items())
)


def save(name, value, **options):
    torch.save(value, HERE / name, **options)


def view(tensor):
    """The same values, in a layout that is not the plain one."""
    if tensor.dim() == 2:
        return tensor.t().contiguous().t()
    return torch.stack([tensor, tensor + 1], dim=1)[:, 0]


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


folder = HERE / "model"
folder.mkdir(exist_ok=True)
(folder / "config.json").write_text(json.dumps(CONFIG) + "\n")
save_file(dict(tensors), folder / "model.safetensors")
halves = [dict(list(tensors.items())[:6]), dict(list(tensors.items())[6:])]
index = {"metadata": {}, "weight_map": {}}
for n, half in enumerate(halves, 1):
    file = f"pytorch_model-0000{n}-of-00002.bin"
    save("model/" + file, half)
    index["weight_map"].update(dict.fromkeys(half, file))
(folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")

state = tensors.copy()
state._metadata = collections.OrderedDict({"": {"version": 1}, "model": {"version": 1}})
save("state-dict.bin", state)
save("legacy.bin", tensors, _use_new_zipfile_serialization=False)
save("views.bin", {name: view(tensor) for name, tensor in tensors.items()})
save("parameters.bin", {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()})
save("float64.bin", {name: tensor.double() for name, tensor in tensors.items()})
save("protocol-4.bin", tensors, pickle_protocol=4)
save("expanded.bin", {"model.embed_tokens.weight": torch.ones(1).expand(1 << 20, 1 << 10)})
save("training.bin", {"epoch": 3, "model": dict(tensors)})
save("hostile.bin", {**tensors, "extra": Hostile()})
save("hostile-legacy.bin", {"extra": Hostile()}, _use_new_zipfile_serialization=False)
save("sparse.bin", {"model.embed_tokens.weight": torch.eye(4).to_sparse()})
save("float8.bin", {"model.embed_tokens.weight": torch.ones(4).to(torch.float8_e4m3fn)})
save("module.bin", torch.nn.Linear(2, 2))
