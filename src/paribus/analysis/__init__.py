"""From frames to evidence: pairs, effects and their tables. Pure: frames in, tables out."""

from paribus.analysis.ablation import leave_one_out, pairs_removed
from paribus.analysis.anova import anova
from paribus.analysis.compare import compare
from paribus.analysis.factors import Factor
from paribus.analysis.pairing import pair
from paribus.analysis.selection import at_best
from paribus.analysis.sentences import sentences
from paribus.analysis.table import Contrast, Table
from paribus.analysis.tasks import aggregate, profile
from paribus.analysis.tuned import tuned
from paribus.analysis.variance import variance

__all__ = [
    "Contrast",
    "Factor",
    "Table",
    "aggregate",
    "anova",
    "at_best",
    "compare",
    "leave_one_out",
    "pair",
    "pairs_removed",
    "profile",
    "sentences",
    "tuned",
    "variance",
]
