"""The vocabulary of change: one family of interventions a file."""

from paribus.interventions.base import (
    HyperparameterIntervention,
    Intervention,
    TimedIntervention,
    WeightsIntervention,
)
from paribus.interventions.designs import Design, Product, Union, Variations
from paribus.interventions.momentum import PerturbMomentum
from paribus.interventions.optimizer import PerturbHyperparameter, SetHyperparameter, SetOptimizer
from paribus.interventions.schedules import Constant, Cosine, LearningRateSchedule, StepDecay, Warmup
from paribus.interventions.weights import InitWeights, PerturbWeights

# The names in which the people who asked for this write.
InitWeightsIntervention = InitWeights
OptimizerIntervention = SetOptimizer
PerturbMomentumIntervention = PerturbMomentum

__all__ = [
    "Constant",
    "Cosine",
    "Design",
    "HyperparameterIntervention",
    "InitWeights",
    "InitWeightsIntervention",
    "Intervention",
    "LearningRateSchedule",
    "OptimizerIntervention",
    "PerturbHyperparameter",
    "PerturbMomentum",
    "PerturbMomentumIntervention",
    "PerturbWeights",
    "Product",
    "SetHyperparameter",
    "SetOptimizer",
    "StepDecay",
    "TimedIntervention",
    "Union",
    "Variations",
    "Warmup",
    "WeightsIntervention",
]
