"""From frames to evidence: pairs, effects and their tables. Pure: frames in, tables out."""

from paribus.analysis.anova import anova
from paribus.analysis.compare import compare
from paribus.analysis.factors import Factor
from paribus.analysis.pairing import pair
from paribus.analysis.table import Contrast, Table
from paribus.analysis.tuned import tuned
from paribus.analysis.variance import variance

__all__ = ["Contrast", "Factor", "Table", "anova", "compare", "pair", "tuned", "variance"]
