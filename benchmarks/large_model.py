"""A model of 330 lines, written into a module of its own: what its fingerprint must read."""

from __future__ import annotations

_HEAD = '''"""Layers, one class each."""
import math
import torch
from torch import nn
from torch.nn import functional as F


def gate(x, scale=1.0):
    return x * torch.sigmoid(scale * x)


'''
_LAYER = '''class Block{n}(nn.Module):
    """Mix features, then gate them."""

    def __init__(self, width=16, dropout=0.1):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.scale = 1 / math.sqrt(width + {n})

    def forward(self, x):
        h = self.mix(self.norm(x))
        h = gate(h, scale={n}.5) if self.training else F.gelu(h)
        h = self.dropout(h)
        for power in range(1, 3):
            h = h + self.scale * h**power
        return x + self.out(h)


'''
_TAIL = '''class Net(nn.Module):
    """All blocks in a row."""

    def __init__(self, width=16):
        super().__init__()
        self.blocks = nn.Sequential({blocks})
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(x))
'''


def source(blocks: int = 16) -> str:
    """Write the module's text; 16 blocks make 341 lines."""
    layers = "".join(_LAYER.format(n=n) for n in range(blocks))
    return _HEAD + layers + _TAIL.format(blocks=", ".join(f"Block{n}()" for n in range(blocks)))
