# ruff: noqa: E501
"""The same with torch: models, tensors, data. Here `main.subject` is a function that makes the value."""

from __future__ import annotations

from identity_cases import Case, edits

MODEL = """
    import torch
    from torch import nn
    def normalise(x):
        return x / 2.0
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv = nn.Conv2d(1, width, kernel_size=3)
            self.drop = nn.Dropout(0.1)
            self.act = nn.ReLU()
            self.register_buffer("mask", torch.ones(3), persistent=False)
        def forward(self, x):
            return torch.sin(self.act(self.drop(self.conv(normalise(x)))) * 1.5)
    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()
            self.block = Block(4)
            self.a = nn.Linear(3, 3)
            self.b = nn.Linear(3, 3)
            # here
        def forward(self, x):
            return self.b(self.a(self.block(x)))
    def hook(module, inputs, output):
        return output * 2
    def subject():
        net = Net()
        # then
        return net
"""


def model(old: str, new: str, name: str, keeps: bool = False) -> Case:
    return edits(old, new, MODEL, name, torch=True, keeps=keeps)


def value(before: str, after: str, name: str, keeps: bool = False) -> Case:
    head = "import torch\nfrom torch import nn\nfrom torch.utils.data import *\ndef subject():\n"
    body = "".join(
        f"    {line}\n" for line in (*before.split("\n")[:-1], f"return {before.split(chr(10))[-1]}")
    )
    other = "".join(
        f"    {line}\n" for line in (*after.split("\n")[:-1], f"return {after.split(chr(10))[-1]}")
    )
    return Case(name, {"main.py": head + body}, {"main.py": head + other}, not keeps, True)


LOSS = """
    import torch
    import torch.nn.functional as F
    # here
    def loss(output, target):
        return F.cross_entropy(output, target, reduction="mean")
    def subject():
        return loss
"""
DATASET = """
    import torch
    from torch.utils.data import Dataset
    class Points(Dataset):
        def __init__(self, n, scale):
            self.x = torch.arange(n).float()
            self.scale = scale
        def __len__(self):
            return len(self.x)
        def __getitem__(self, i):
            return self.x[i] * self.scale
    def subject():
        return Points(100, 2)
"""
FILES = """
    import os, sys
    from pathlib import Path
    from torch.utils.data import Dataset
    class Folder(Dataset):
        def __init__(self, root):
            root = Path(root)
            (root / "cats").mkdir(parents=True, exist_ok=True)
            self.files = []
            for name, text in (("cats/1.txt", "miau"), ("2.txt", "wuff")):
                (root / name).write_text(text)
                self.files.append((str(root / name), len(name)))
        def __len__(self):
            return 2
        def __getitem__(self, i):
            return Path(self.files[i][0]).read_text()
    def subject():
        folder = Folder(Path(__file__).parent / "data")
        # then
        return folder
"""
RESTORED = """
    import os
    from pathlib import Path
    from paribus.identity import File, digest
    def subject():
        path = Path(__file__).parent / "table.bin"
        path.write_bytes(b"abc")
        told = os.stat(path)
        digest(File(path))
        path.write_bytes(b"abc")
        os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
        return File(path)
"""
TRANSFORM = """
    import torch
    from torchvision import transforms
    from torchvision.datasets import MNIST, VisionDataset
    class Digits(VisionDataset):
        def __init__(self, root, transform):
            super().__init__(root, transform=transform)
            self.data = torch.zeros(3, 2, 2)
        def __len__(self):
            return 3
        def __getitem__(self, i):
            return self.transform(self.data[i])
    def subject():
        return Digits(__file__[:-7], transforms.Compose([transforms.RandomRotation(10), transforms.Normalize((0.5,), (0.5,))]))
"""

SAMPLES = (
    FILES.replace(
        "self.files.append((str(root / name), len(name)))", "self.files.append(Sample(root / name))"
    )
    .replace("self.files[i][0]", "self.files[i].path")
    .replace(
        "    class Folder",
        "    class Sample:\n        def __init__(self, path):\n            self.path = path\n    class Folder",
    )
)

TORCH = [
    edits("miau", "meow", SAMPLES, "a file that an object of a dataset names", torch=True),
    edits(
        '"data"', '"elsewhere"', SAMPLES, "a root moved, of files that objects name", torch=True, keeps=True
    ),
    model("* 1.5", "* 1.6", "a constant in forward"),
    model("torch.sin", "torch.cos", "torch.sin to torch.cos"),
    model("x / 2.0", "x / 3.0", "a helper of forward"),
    model("kernel_size=3", "kernel_size=5", "a kernel's size"),
    model("Block(4)", "Block(5)", "a width"),
    model("Dropout(0.1)", "Dropout(0.2)", "dropout p"),
    model("nn.ReLU()", "nn.GELU()", "the activation's class"),
    model("torch.ones(3)", "torch.zeros(3)", "a non-persistent buffer"),
    model("persistent=False", "persistent=True", "whether a buffer persists"),
    model("# then", "net.b.weight = net.a.weight", "tied weights"),
    model("# then", "net.a.weight.requires_grad_(False)", "requires_grad"),
    model("# then", "net.a.register_forward_hook(hook)", "a forward hook"),
    model("# then", "net.to(torch.bfloat16)", "the dtype of weights"),
    model("# then", "net.forward = lambda x: x", "a forward of its own"),
    model("# then", "Net.forward = lambda self, x: x", "a patched forward"),
    model("# then", "Block.forward = lambda self, x: x", "a patched forward of a part"),
    model("# then", "nn.Linear.forward = lambda self, x: x", "a patched forward of the library"),
    model("# then", "net.a.register_forward_hook(hook).remove()", "a hook added and removed", keeps=True),
    model(
        "# then", "(net.a(torch.ones(3)).sum() + net.b.weight.sum()).backward()", "after backward", keeps=True
    ),
    model("# then", "net.eval()", "the mode of training", keeps=True),
    model("# then", "torch.manual_seed(3); net = Net()", "other first weights of a template", keeps=True),
    model("x):\n", "x) -> torch.Tensor:\n", "annotations", keeps=True),
    edits('"mean"', '"sum"', LOSS, "the loss's reduction", torch=True),
    edits("# here", "torch.__version__ = '2.99.0'", LOSS, "torch's major.minor", torch=True),
    edits(
        "# here",
        "torch.__version__ = torch.__version__.partition('+')[0] + '+cpu'",
        LOSS,
        "+cpu and +cu",
        torch=True,
        keeps=True,
    ),
    value("torch.ones(4)", "torch.ones(4, dtype=torch.bfloat16)", "float32 to bfloat16 with equal values"),
    value("torch.tensor([[1, 2], [3, 4]])", "torch.tensor([[3, 4], [1, 2]])", "two samples swapped"),
    value("torch.zeros(1200).long()", "y = torch.zeros(1200).long()\ny[77] = 1\ny", "one label flipped"),
    value(
        "torch.zeros(10_000_000)",
        "y = torch.zeros(10_000_000)\ny[7_654_321] = 1e-30\ny",
        "one element of ten million",
    ),
    value(
        "Subset(TensorDataset(torch.arange(9)), [1, 2])",
        "Subset(TensorDataset(torch.arange(9)), [1, 3])",
        "subset indices",
    ),
    value(
        "ConcatDataset([TensorDataset(torch.arange(9))] * 2)",
        "ConcatDataset([TensorDataset(torch.arange(9))] * 3)",
        "concatenated datasets",
    ),
    value("torch.optim.SGD", "torch.optim.Adam", "the optimizer's class"),
    value("torch.float32", "torch.float64", "a dtype"),
    value("torch.device('cpu')", "torch.device('cuda')", "a device"),
    value("torch.nn.functional.relu", "torch.nn.functional.gelu", "a function of the library"),
    value(
        "nn.Sequential(nn.ReLU(), nn.Tanh())", "nn.Sequential(nn.Tanh(), nn.ReLU())", "the order of modules"
    ),
    value("nn.LSTM(2, 3)", "nn.LSTM(2, 3, num_layers=2)", "layers of an LSTM"),
    value(
        "torch.arange(12).reshape(3, 4).T.contiguous()",
        "torch.arange(12).reshape(3, 4).T",
        "strides",
        keeps=True,
    ),
    value(
        "torch.arange(40_000_000).reshape(20_000, 2_000).T.contiguous()",
        "torch.arange(40_000_000).reshape(20_000, 2_000).T",
        "strides of a large tensor",
        keeps=True,
    ),
    value("torch.arange(4)", "torch.arange(8)[:4]", "view and clone", keeps=True),
    value(
        "DataLoader(TensorDataset(torch.arange(9)), num_workers=0)",
        "DataLoader(TensorDataset(torch.arange(9)), num_workers=2)",
        "number of workers",
        keeps=True,
    ),
    value("nn.LSTM(2, 3)", "nn.LSTM(2, 3)", "an LSTM made again", keeps=True),
    value(
        "m = nn.Linear(2, 2)\nm.me = (m,)\nm",
        "m = nn.Linear(2, 2)\nm.me = (m,)\nm",
        "a module that holds itself",
        keeps=True,
    ),
    edits("* self.scale", "+ self.scale", DATASET, "the code of a dataset", torch=True),
    edits("(100, 2)", "(100, 3)", DATASET, "an attribute of a dataset", torch=True),
    edits("miau", "meow", FILES, "a file of a dataset", torch=True),
    edits("cats", "cows", FILES, "the name of a file's folder", torch=True),
    edits('"data"', '"elsewhere"', FILES, "a dataset's root moved", torch=True, keeps=True),
    edits("# then", "[os.utime(f, (1, 1)) for f, _ in folder.files]", FILES, "touch", torch=True, keeps=True),
    edits(
        'b"abc")\n    os',
        'b"abd")\n    os',
        RESTORED,
        "a file's bytes with size and mtime restored",
        torch=True,
    ),
    edits("RandomRotation(10)", "RandomRotation(20)", TRANSFORM, "a transform's argument", torch=True),
    edits("[:-7]", "[:-8] + '/data'", TRANSFORM, "an image dataset's root", torch=True, keeps=True),
]
