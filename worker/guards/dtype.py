"""The precision that a model is loaded in."""

from typing import Final, Literal

import torch

DType = Literal["auto", "bfloat16", "float16", "float32"]

_DTYPES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def dtype_of(dtype: DType, device: str) -> torch.dtype:
    """What a setting means on a device: `auto` is float32 on the CPU and bfloat16 elsewhere."""
    if dtype != "auto":
        return _DTYPES[dtype]
    return torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
