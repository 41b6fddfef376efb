"""The other side: the loops by hand that ``paribus bench`` has too."""

from paribus.bench.by_hand import (
    BATCH_SIZE,
    EVALUATION_BATCH,
    evaluate,
    loop_with_dataloader,
    loop_with_tensors,
    one_step,
    step,
)

__all__ = [
    "BATCH_SIZE",
    "EVALUATION_BATCH",
    "evaluate",
    "loop_with_dataloader",
    "loop_with_tensors",
    "one_step",
    "step",
]
