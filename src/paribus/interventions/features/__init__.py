"""Ablation of features: what a feature is, how it is silenced, and the model fitted to what is left."""

from paribus.interventions.features.ablation import AblateFeatures
from paribus.interventions.features.selectors import (
    Channels,
    Classes,
    Feature,
    Key,
    Patch,
    Samples,
    Selector,
    Slices,
)
from paribus.interventions.features.sequences import Tokens, Words

__all__ = [
    "AblateFeatures",
    "Channels",
    "Classes",
    "Feature",
    "Key",
    "Patch",
    "Samples",
    "Selector",
    "Slices",
    "Tokens",
    "Words",
]
