"""Layers taken out of any module, with a gate that proves the change before training."""

from paribus.interventions.layers.ablation import AblateLayers
from paribus.interventions.layers.change import Change
from paribus.interventions.layers.selection import select
from paribus.interventions.layers.setting import SetModule

__all__ = ["AblateLayers", "Change", "SetModule", "select"]
