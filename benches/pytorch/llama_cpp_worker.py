"""The llama.cpp side of generation-vs-transformers: one process, commands on standard input, one JSON answer a line.

    python llama_cpp_worker.py MODEL.gguf PROMPTS.json THREADS WORK

Runs llama.cpp's own server, with its continuous batching, in this process (the package xllamacpp, which has llama.cpp built in;
llama-cpp-python comes without a built library). The model's weights are written to WORK as f32 first, so that all sides compute
with the same numbers. `generate COUNT NEW SLOTS` answers COUNT prompts, SLOTS of them at once.
"""

import json
import os
import sys
import time
import urllib.request

import gguf
import numpy as np
import xllamacpp
from gguf.quants import dequantize


def in_f32(path, target):
    """The same GGUF file with every tensor as f32."""
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    written = ("general.architecture", "general.file_type", "general.quantization_version")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in written:
            continue
        is_list = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if is_list else None)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(size) for size in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def server(model, threads, slots, positions):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = slots
    params.n_ctx = slots * positions
    params.n_batch = 2048
    params.n_ubatch = 512
    params.cont_batching = True
    params.cache_prompt = False
    params.warmup = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)


def generated(running, prompts, new):
    """The new tokens of every prompt."""
    asked = {
        "prompt": prompts, "n_predict": new, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False,
        "return_tokens": True,
    }  # fmt: skip
    request = urllib.request.Request(
        running.listening_address + "/completion", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        found = json.load(reply)
    found = found if isinstance(found, list) else [found]
    return [answer["tokens"] for answer in sorted(found, key=lambda answer: answer["index"])]


def main():
    path, prompts_file, threads, work = sys.argv[1:]
    model = os.path.join(work, "model-f32.gguf")
    if not os.path.exists(model):
        in_f32(path, model + ".part")
        os.rename(model + ".part", model)
    with open(prompts_file) as file:
        prompts = json.load(file)
    # What llama.cpp prints goes to standard error, so that standard output has answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = lambda value: print(json.dumps(value), file=answers, flush=True)
    answer({"ready": f"llama.cpp in xllamacpp {xllamacpp.__version__}"})
    running, made_for = None, None
    for line in sys.stdin:
        command, *numbers = line.split()
        if command != "generate":
            raise SystemExit(f"unknown command: {line}")
        count, new, slots = map(int, numbers)
        if made_for != (slots, new):
            running = server(model, int(threads), slots, max(map(len, prompts)) + new + 8)
            made_for = (slots, new)
            generated(running, prompts[:2], 2)
        started = time.perf_counter()
        ids = generated(running, prompts[:count], new)
        answer({"seconds": time.perf_counter() - started, "ids": ids})


if __name__ == "__main__":
    main()
