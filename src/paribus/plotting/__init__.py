"""From frames and tables to figures, each with the numbers in it and the words under it."""

from paribus.plotting.curves import curves
from paribus.plotting.effects import effects
from paribus.plotting.figure import Figure
from paribus.plotting.importance import importance
from paribus.plotting.interaction import interaction
from paribus.plotting.pairs import pairs
from paribus.plotting.parallel import parallel
from paribus.plotting.profile import profile
from paribus.plotting.ridge import ridge
from paribus.plotting.slices import slice
from paribus.plotting.variance import variance

__all__ = [
    "Figure",
    "curves",
    "effects",
    "importance",
    "interaction",
    "pairs",
    "parallel",
    "profile",
    "ridge",
    "slice",
    "variance",
]
