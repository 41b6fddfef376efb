"""The vocabulary of change: one family of interventions a file."""

from paribus.interventions.activations import (
    ClampActivations,
    MeanActivations,
    PerturbActivations,
    ResampleActivations,
    ScaleActivations,
    ZeroActivations,
)
from paribus.interventions.base import Intervention, TimedIntervention
from paribus.interventions.batches import BlurInputs, PerturbInputs, ShuffleTargets, TransformBatch
from paribus.interventions.data import FlipLabels, ImbalanceClasses, SubsetSamples
from paribus.interventions.designs import Design, Product, Union, Variations
from paribus.interventions.dimensions import Categorical, Dimension, Float, Int
from paribus.interventions.features import (
    AblateFeatures,
    Channels,
    Classes,
    Key,
    Patch,
    Samples,
    Selector,
    Slices,
    Tokens,
    Words,
)
from paribus.interventions.freezing import FreezeWeights
from paribus.interventions.gradients import (
    ClipGradients,
    DropGradients,
    PerturbGradients,
    ScaleGradients,
    SignGradients,
)
from paribus.interventions.layers import AblateLayers, SetModule
from paribus.interventions.momentum import (
    PerturbMomentum,
    PerturbMomentumBuffer,
    ResetMomentumBuffer,
    ScaleMomentumBuffer,
)
from paribus.interventions.objective import WeightTerm
from paribus.interventions.optimizer import (
    PerturbHyperparameter,
    SetHyperparameter,
    SetOptimizer,
    SetParameterGroup,
    SetSchedule,
)
from paribus.interventions.options import SetOption
from paribus.interventions.pruning import Mask, MaskWeights, PruneRounds, PruneWeights
from paribus.interventions.sampling import SetBatchSize, SetSeeds
from paribus.interventions.schedules import Constant, Cosine, LearningRateSchedule, StepDecay, Warmup
from paribus.interventions.sites import (
    ActivationsIntervention,
    ArchitectureIntervention,
    BatchIntervention,
    BuffersIntervention,
    Call,
    ConstraintIntervention,
    DataIntervention,
    GradientsIntervention,
    HyperparameterIntervention,
    ObjectiveIntervention,
    Probe,
    SeedsIntervention,
    SettingIntervention,
    TrainingIntervention,
    WeightsIntervention,
)
from paribus.interventions.splits import Split
from paribus.interventions.states import Drawn, LearnerState, Sibling, StateIntervention, StateReader
from paribus.interventions.transfer import InterpolateWeights, RewindWeights
from paribus.interventions.weights import InitWeights, PerturbWeights, ReinitWeights

# The names in which the people who asked for this write.
InitWeightsIntervention = InitWeights
OptimizerIntervention = SetOptimizer
PerturbMomentumIntervention = PerturbMomentum

__all__ = [
    "AblateFeatures",
    "AblateLayers",
    "ActivationsIntervention",
    "ArchitectureIntervention",
    "BatchIntervention",
    "BlurInputs",
    "BuffersIntervention",
    "Call",
    "Categorical",
    "Channels",
    "ClampActivations",
    "Classes",
    "ClipGradients",
    "Constant",
    "ConstraintIntervention",
    "Cosine",
    "DataIntervention",
    "Design",
    "Dimension",
    "Drawn",
    "DropGradients",
    "FlipLabels",
    "Float",
    "FreezeWeights",
    "GradientsIntervention",
    "HyperparameterIntervention",
    "ImbalanceClasses",
    "InitWeights",
    "InitWeightsIntervention",
    "Int",
    "InterpolateWeights",
    "Intervention",
    "Key",
    "LearnerState",
    "LearningRateSchedule",
    "Mask",
    "MaskWeights",
    "MeanActivations",
    "ObjectiveIntervention",
    "OptimizerIntervention",
    "Patch",
    "PerturbActivations",
    "PerturbGradients",
    "PerturbHyperparameter",
    "PerturbInputs",
    "PerturbMomentum",
    "PerturbMomentumBuffer",
    "PerturbMomentumIntervention",
    "PerturbWeights",
    "Probe",
    "Product",
    "PruneRounds",
    "PruneWeights",
    "ReinitWeights",
    "ResampleActivations",
    "ResetMomentumBuffer",
    "RewindWeights",
    "Samples",
    "ScaleActivations",
    "ScaleGradients",
    "ScaleMomentumBuffer",
    "SeedsIntervention",
    "Selector",
    "SetBatchSize",
    "SetHyperparameter",
    "SetModule",
    "SetOptimizer",
    "SetOption",
    "SetParameterGroup",
    "SetSchedule",
    "SetSeeds",
    "SettingIntervention",
    "ShuffleTargets",
    "Sibling",
    "SignGradients",
    "Slices",
    "Split",
    "StateIntervention",
    "StateReader",
    "StepDecay",
    "SubsetSamples",
    "TimedIntervention",
    "Tokens",
    "TrainingIntervention",
    "TransformBatch",
    "Union",
    "Variations",
    "Warmup",
    "WeightTerm",
    "WeightsIntervention",
    "Words",
    "ZeroActivations",
]
