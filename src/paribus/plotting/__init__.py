"""From frames and tables to figures, each with the numbers in it and the words under it."""

from paribus.plotting.curves import curves
from paribus.plotting.effects import effects
from paribus.plotting.figure import Figure
from paribus.plotting.importance import importance
from paribus.plotting.interaction import interaction
from paribus.plotting.slices import slice

__all__ = ["Figure", "curves", "effects", "importance", "interaction", "slice"]
