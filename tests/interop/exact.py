"""A model of transformers computed in f64, to tell whose f32 lies nearer to what the weights say.

transformers casts to f32 in places whatever the type of the model: in norms, before a softmax, for angles. So it is not
enough to make the weights f64; here no cast to f32 is let through. The frequencies of rotary embeddings stay the f32 numbers
that the model holds.
Must not know: which model it is, what is computed with it.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Doubled(TorchDispatchMode):
    """Inside, whoever asks for f32 gets f64; an f32 number that comes about all the same is an error."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        named = dict(named or {})
        if named.get("dtype") is torch.float32:
            named["dtype"] = torch.float64
        found = function(*arguments, **named)
        for value in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
                raise TypeError(f"{function} gives f32 numbers")
        return found
