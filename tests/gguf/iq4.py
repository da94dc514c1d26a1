#!/usr/bin/env python3
"""Makes iq4.json: random blocks of IQ4_NL and IQ4_XS, and the values that the Python package gguf finds in them.

    pip install gguf==0.19.0 && python3 iq4.py > iq4.json
"""

import json

import numpy as np
from gguf import GGMLQuantizationType, quants

found = []
for name, blocks in (("IQ4_NL", 3), ("IQ4_XS", 2)):
    kind = GGMLQuantizationType[name]
    _, size = quants.GGML_QUANT_SIZES[kind]
    rows = np.random.default_rng(blocks).integers(0, 256, (blocks, size), dtype=np.uint8)
    # a scale that is a number: any bits but those of infinity and NaN
    rows[:, :2] = np.array([[0.013], [-2.5], [3e-5]], dtype=np.float16)[:blocks].view(np.uint8)
    values = quants.dequantize(rows, kind).flatten()
    found.append({"format": name, "bytes": rows.flatten().tolist(), "values": values.tolist()})
print("[\n" + ",\n".join(json.dumps(one, separators=(",", ":")) for one in found) + "\n]")
