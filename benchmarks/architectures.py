"""Public architectures with random weights: torchvision's, timm's, and small ones of transformers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import nn

from paribus.interventions.layers.nested import tensors
from paribus.interventions.layers.trace import trace

_MOST_PARAMETERS = 60e6


@final
@dataclass(frozen=True)
class Case:
    """A model to take apart.

    Attributes:
        name: Of the model.
        make: Makes it, with random weights, and a batch.
        loss: Of (model, batch).
        family: Models of a family share their code.
        size: The smaller come first.
    """

    name: str
    make: Callable[[], tuple[nn.Module, Any]]
    loss: Callable[[nn.Module, Any], torch.Tensor]
    family: str = ""
    size: int = 0


def classified(model: nn.Module, batch: Any) -> torch.Tensor:
    """Cross-entropy of every output that a classifier gives."""
    found = [out for out in tensors(model(batch[0])) if out.ndim == 2]
    return torch.stack([nn.functional.cross_entropy(out, batch[1]) for out in found]).sum()


def own_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """Return the loss that a model of transformers computes by itself."""
    loss: torch.Tensor = model(**batch).loss
    return loss


def images(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two random images of a side, and labels."""
    draws = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, side, side, generator=draws), torch.tensor([1, 5])


def torchvision_cases() -> Iterator[Case]:
    """Yield every classification model of torchvision."""
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        family = torchvision.models.get_model_builder(name).__module__
        weights = list(torchvision.models.get_model_weights(name))  # their description only
        size = weights[0].meta["num_params"] if weights else 0
        yield Case(name, partial(_torchvision, name), classified, family, size)


def _torchvision(name: str) -> tuple[nn.Module, Any]:
    import torchvision

    torch.manual_seed(0)
    if name.startswith("vit"):  # in the widths and depths of the original a trial takes minutes
        patch = int(name.rsplit("_", 1)[1])
        side = 2 * patch
        return torchvision.models.VisionTransformer(side, patch, 2, 2, 32, 64, num_classes=7), images(side)
    if name.startswith("maxvit"):
        model = torchvision.models.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 8, 0.1, num_classes=7)
        return model, images(64)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with _quick_draws():
        model = torchvision.models.get_model(name, weights=None, num_classes=7, **options)
    return model, images({"inception_v3": 299, "alexnet": 64, "googlenet": 64}.get(name, 32))


@contextmanager
def _quick_draws() -> Iterator[None]:
    """Draw truncated normal weights as normal ones, which takes a tenth of the time."""
    slow: Any = nn.init.trunc_normal_

    def quick(
        tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, *ends: Any, **more: Any
    ) -> torch.Tensor:
        return nn.init.normal_(tensor, mean, std)

    nn.init.trunc_normal_ = quick
    try:
        yield
    finally:
        nn.init.trunc_normal_ = slow


_SMALL_WORDS = (
    "test_",
    "femto",
    "atto",
    "pico",
    "nano",
    "_xxs",
    "_xs",
    "tiny",
    "_t0",
    "_s0",
    "_b0",
    "18",
    "small",
)


def timm_cases() -> Iterator[Case]:
    """Yield of each file of timm the model whose name tells that it is the smallest."""
    import timm

    for module in timm.list_modules():
        if names := timm.list_models(module=module):
            name = min(names, key=_bulk)
            yield Case(name, partial(_timm, name), classified)


def _bulk(name: str) -> tuple[int, int, str]:
    rank = next((i for i, word in enumerate(_SMALL_WORDS) if word in name), len(_SMALL_WORDS))
    return rank, len(name), name


def _timm(name: str) -> tuple[nn.Module, Any]:
    import timm

    for options, side in (
        ({"img_size": 64}, 64),
        ({}, 64),
        ({}, 128),
        ({}, 224),
        ({"img_size": 256}, 256),
        ({}, 256),
    ):
        torch.manual_seed(0)
        try:
            with _quick_draws():
                model: nn.Module = timm.create_model(name, pretrained=False, num_classes=7, **options)
        except (TypeError, AssertionError, ValueError, RuntimeError):
            continue
        if _size(model) > _MOST_PARAMETERS:
            raise MemoryError(f"more than {_MOST_PARAMETERS:.0f} parameters")
        batch = images(side)
        if trace(model, classified, batch, watch=False).error is None:
            return model, batch
    raise ValueError("no size of images fits")


_SMALL = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64, "use_cache": False,
    "pad_token_id": 0, "eos_token_id": 1, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2,
    "num_heads": 4, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48,
    "n_positions": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "embedding_size": 16,
    "ffn_dim": 48, "word_embed_proj_dim": 32, "num_experts": 3, "num_local_experts": 3,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "rotary_dim": 8, "rotary_pct": 0.5,
    "num_labels": 7, "num_channels": 3, "d_inner": 48, "d_head": 8, "state_size": 8,
    "attn_implementation": "eager",
}  # fmt: skip
_HEADS = {"head_dim": 8}
_START = {"decoder_start_token_id": 0}
_WORDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen3", "gemma", "gemma2"), _HEADS),
    **dict.fromkeys(("t5", "switch_transformers"), _START),
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "squeezebert": {"embedding_size": 32},
    "marian": {**_START, "decoder_vocab_size": 99},
}
_WINDOWS = {
    "depths": [2, 2],
    "num_heads": [2, 4],
    "embed_dim": 16,
    "window_size": 2,
    "patch_size": 2,
    "image_size": 32,
}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
_FOUR = {"hidden_sizes": [8, 16, 16, 32]}
_PIXELS: dict[str, dict[str, Any]] = {
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "convnext": {**_STAGES, "num_stages": 2},
    "convnextv2": {**_STAGES, "num_stages": 2},
    "resnet": {**_STAGES, "embedding_size": 8},
    "regnet": {**_STAGES, "embedding_size": 8, "groups_width": 4},
    "bit": {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1]},
    "segformer": {**_FOUR, "num_attention_heads": [1, 2, 4, 4]},
    "poolformer": {**_FOUR, "depths": [1, 1, 1, 1]},
    "focalnet": {
        "image_size": 32,
        "embed_dim": 8,
        "depths": [1, 1],
        "focal_levels": [2, 2],
        "focal_windows": [3, 3],
    },
    "cvt": {"num_heads": [1, 2, 4], "embed_dim": [8, 16, 32], "depth": [1, 1, 2]},
    "levit": {"hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "image_size": 64},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.35},
}
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AutoModelForCausalLM", (
        "gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi",
        "phi3", "bloom", "falcon", "mixtral", "qwen2_moe", "olmo", "stablelm", "mamba", "granite", "codegen",
        "gptj", "mpt",
    )),
    ("AutoModelForSequenceClassification", (
        "bert", "roberta", "distilbert", "albert", "electra", "xlm-roberta", "deberta-v2", "mobilebert",
        "ernie",        "roformer", "squeezebert", "mpnet", "nystromformer", "convbert", "modernbert",
    )),
    ("AutoModelForMaskedLM", ("bert", "distilbert")),
    ("AutoModelForSeq2SeqLM", ("t5", "bart", "pegasus", "mbart", "marian", "switch_transformers")),
    ("AutoModelForImageClassification", (*_PIXELS, "vit", "deit", "beit", "dinov2", "vit_msn")),
)  # fmt: skip


def transformers_cases() -> Iterator[Case]:
    """Yield models of transformers, built from small configurations."""
    for head, kinds in _KINDS:
        for kind in kinds:
            yield Case(f"{kind}/{head[12:]}", partial(_transformers, head, kind), own_loss)


def _transformers(head: str, kind: str) -> tuple[nn.Module, Any]:
    import transformers

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    of_images = head.endswith("ImageClassification")
    model = _configured(head, kind, image_size=32, patch_size=8) if of_images else _configured(head, kind)
    if _size(model) > _MOST_PARAMETERS:
        raise MemoryError(f"more than {_MOST_PARAMETERS:.0f} parameters")
    if of_images:
        pixels, targets = images(getattr(model.config, "image_size", 32) if kind in _PIXELS else 32)
        return model, {"pixel_values": pixels, "labels": targets}
    tokens = torch.randint(5, 90, (3, 10), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 0, 1]) if head.endswith("SequenceClassification") else tokens.clone()
    return model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}


def _configured(head: str, kind: str, **sizes: int) -> Any:
    import transformers

    if kind in _PIXELS:
        options = {"num_labels": 7, **_PIXELS[kind]}
    else:
        known = transformers.AutoConfig.for_model(kind)
        options = {name: value for name, value in {**_SMALL, **sizes}.items() if hasattr(known, name)}
        options |= _WORDS.get(kind, {})
    torch.manual_seed(0)
    return getattr(transformers, head).from_config(transformers.AutoConfig.for_model(kind, **options))


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
