"""Two small models to run on: `LeNet5` for 28x28 grey images, and `MLP` for anything that flattens.

Both are chains of named modules, activations included, so that each of them can be perturbed, replaced or
observed; and each parameter belongs to a module with `reset_parameters`, so that weights can be drawn anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from paribus.errors import ConfigurationError


class LeNet5(nn.Sequential):
    """Classify grey images of 28x28: LeNet-5 with ReLU, max pooling and a linear output, as used today.

    The layer sizes are the original's: 6 and 16 maps of 5x5 filters, then 120, 84 and 10 units; the first
    convolution pads by 2, so that 28x28 images take the place of the original's 32x32. The original's scaled
    tanh, trainable subsampling, partial connections and radial basis outputs are left out. 61,706 parameters
    at width 1.

    Shapes: (batch, 1, 28, 28) → (batch, classes) logits.

    Args:
        width: Factor on the maps and hidden units.
        classes: Number of classes.

    Example:
        >>> import torch
        >>> LeNet5()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    Raises:
        ConfigurationError: `width` or `classes` is not positive.

    Source:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    fc1: nn.Linear
    fc2: nn.Linear
    fc3: nn.Linear

    def __init__(self, width: int = 1, classes: int = 10) -> None:
        _refuse_empty("LeNet5", width=width, classes=classes)
        super().__init__(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(1, 6 * width, kernel_size=5, padding=2),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(6 * width, 16 * width, kernel_size=5),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(16 * width * 5 * 5, 120 * width),
                relu3=nn.ReLU(),
                fc2=nn.Linear(120 * width, 84 * width),
                relu4=nn.ReLU(),
                fc3=nn.Linear(84 * width, classes),
            )
        )


class MLP(nn.Sequential):
    """Map flattened inputs through fully connected layers with ReLU between them.

    The layers are `fc1`, `fc2`, …, the activations `relu1`, `relu2`, ….

    Shapes: (batch, …) with `inputs` numbers a sample → (batch, outputs), logits or values.

    Args:
        inputs: Numbers in a sample: 784 for 28x28 images, 64 for the raw digits.
        hidden: Units of each hidden layer; none makes the model linear.
        outputs: Numbers in an output.

    Example:
        >>> import torch
        >>> MLP(inputs=64, hidden=(32,))(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])

    Raises:
        ConfigurationError: A size is not positive.
    """

    fc1: nn.Linear

    def __init__(self, inputs: int = 784, hidden: Sequence[int] = (64, 32), outputs: int = 10) -> None:
        _refuse_empty("MLP", inputs=inputs, hidden=min(hidden, default=1), outputs=outputs)
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        sizes = (inputs, *hidden, outputs)
        for i in range(1, len(sizes)):
            if i > 1:
                layers[f"relu{i - 1}"] = nn.ReLU()
            layers[f"fc{i}"] = nn.Linear(sizes[i - 1], sizes[i])
        super().__init__(layers)


Lenet5 = LeNet5  # as the people who asked for this write it


def _refuse_empty(model: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigurationError(
                f"{model}: got {name}={size!r}, expected a size ≥ 1; give a positive int"
            )
