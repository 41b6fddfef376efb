"""When does a kick to the weights hurt? Forty learners, paired seed by seed; run it twice."""

from paribus import Experiment, Logger
from paribus.datasets import digits
from paribus.interventions import InitWeights, PerturbWeights
from paribus.loggers import Every
from paribus.models import MLP
from paribus.plotting import effects

exp = Experiment(
    model=MLP(inputs=64),
    dataset=digits(size=8),  # scikit-learn's handwritten digits: no download
    interventions=[
        # Eight initial weights: each is compared with itself, so that luck cancels.
        InitWeights.make_variations(seed=range(8)),
        # Left alone, or kicked once: before training, early, midway, 20 steps before the end.
        PerturbWeights.make_variations(epsilon=0, control=True),
        PerturbWeights.make_variations(epsilon=0.2, step=(0, 100, 200, 280)),
    ],
    steps=300,
    logger=Logger(schedule=Every(10)),
    store="runs",
)
print(exp)

# What lies before a kick is the control's own past: it is trained once, and forked.
print(exp.plan())

# Here is where the second run trains nothing. executor="joblib" would take all cores.
exp.run()

# Each kicked learner minus its control of the same seed.
table = exp.compare("test/accuracy")
print("", table, sep="\n")

for name, figure in (("curves", exp.plot("test/accuracy")), ("effects", effects(table))):
    files = figure.save(f"figures/quickstart-{name}", formats=("png", "csv"))
    print("saved", *files)
