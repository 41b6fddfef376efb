"""From frames and tables to figures, each with the numbers in it and the words under it."""

from paribus.plotting.curves import curves
from paribus.plotting.effects import effects
from paribus.plotting.figure import Figure

__all__ = ["Figure", "curves", "effects"]
