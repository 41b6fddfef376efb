"""The vocabulary of change: one family of interventions a file."""

from paribus.interventions.base import Intervention, TimedIntervention
from paribus.interventions.designs import Design, Product, Union, Variations
from paribus.interventions.momentum import PerturbMomentum
from paribus.interventions.optimizer import PerturbHyperparameter, SetHyperparameter, SetOptimizer
from paribus.interventions.schedules import Constant, Cosine, LearningRateSchedule, StepDecay, Warmup
from paribus.interventions.sites import (
    ActivationsIntervention,
    ArchitectureIntervention,
    BatchIntervention,
    BuffersIntervention,
    ConstraintIntervention,
    DataIntervention,
    GradientsIntervention,
    HyperparameterIntervention,
    ObjectiveIntervention,
    Probe,
    WeightsIntervention,
)
from paribus.interventions.weights import InitWeights, PerturbWeights

# The names in which the people who asked for this write.
InitWeightsIntervention = InitWeights
OptimizerIntervention = SetOptimizer
PerturbMomentumIntervention = PerturbMomentum

__all__ = [
    "ActivationsIntervention",
    "ArchitectureIntervention",
    "BatchIntervention",
    "BuffersIntervention",
    "Constant",
    "ConstraintIntervention",
    "Cosine",
    "DataIntervention",
    "Design",
    "GradientsIntervention",
    "HyperparameterIntervention",
    "InitWeights",
    "InitWeightsIntervention",
    "Intervention",
    "LearningRateSchedule",
    "ObjectiveIntervention",
    "OptimizerIntervention",
    "PerturbHyperparameter",
    "PerturbMomentum",
    "PerturbMomentumIntervention",
    "PerturbWeights",
    "Probe",
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
