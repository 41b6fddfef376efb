"""Awkward modules to take layers out of, and the probe with which they are tried."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from paribus.interventions.layers import AblateLayers
from paribus.interventions.layers.gate import certify
from paribus.interventions.sites import Probe

torch.set_num_threads(1)


def supervised(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def squared(model: nn.Module, batch: Any) -> torch.Tensor:
    return model(batch).square().mean()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def probe_of(batch: Any, loss: Callable[[nn.Module, Any], torch.Tensor] = supervised, seed: int = 3) -> Probe:
    return Probe(batch, loss, sgd, seed)


def labelled(*shape: int, classes: int = 3, batch: int = 4) -> Probe:
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(batch, *shape, generator=draws)
    return probe_of((inputs, torch.arange(batch) % classes))


def ablated(model: nn.Module, layers: Any, probe: Probe, **options: Any) -> nn.Module:
    """Plan, operate on a copy, and pass the gate."""
    changed = AblateLayers(layers, **options).edit(copy.deepcopy(model), probe)
    certify(model, changed, probe)
    return changed


def stepped(model: nn.Module, probe: Probe, steps: int = 3) -> list[float]:
    """Train a copy; return the losses."""
    model = copy.deepcopy(model).train()
    optimizer, losses = probe.optimizer(model), []
    for step in range(steps):
        torch.manual_seed(step)
        loss = probe.loss(model, probe.batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class Residual(nn.Module):
    """A block whose first layer writes in place what the shortcut needs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x + self.conv(self.relu(self.norm(x)))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        padding[0, -1] = True
        return self.head(self.encoder(x, src_key_padding_mask=padding).mean(1))


class Stack(nn.Module):
    """A ModuleList that is iterated, and a module that is called several times."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.shared = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = self.shared(block(x).tanh())
        return self.head(x)


class Autoencoder(nn.Module):
    """The decoder reads the encoder's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 6)
        self.middle = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.middle(self.encoder(x).tanh()), self.encoder.weight.t())


class Dense(nn.Module):
    """Layers that read the concatenation of all before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.norm = nn.BatchNorm2d(9)
        self.head = nn.Linear(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x).relu()], 1)
        return self.head(self.norm(x).mean((2, 3)))


class Folding(nn.Module):
    """``view(-1, k)`` turns missing width into other samples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).view(-1, 16))


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 5)
        self.cell = nn.LSTMCell(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], 5)
        for t in range(x.shape[1]):
            h, c = self.cell(self.embed(x[:, t]), (h, c))
        return self.head(h)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[1][0][-1])


class Mixture(nn.Module):
    """Each sample goes to the expert that the router chooses, by a mask; some may get none."""

    def __init__(self, experts: int = 3) -> None:
        super().__init__()
        self.router = nn.Linear(6, experts)
        self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(experts))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = self.router(x).softmax(-1)
        weight, choice = gates.max(-1)
        mixed = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mask = choice == number
            if mask.any():
                mixed[mask] = expert(x[mask]) * weight[mask, None]
        return self.head(x + mixed)


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.down2 = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.merge = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        high = self.down1(x)
        low = self.down2(self.pool(high))
        return self.out(self.merge(torch.cat([high, self.up(low)], 1)))


class Named(nn.Module):
    """Takes its inputs by name only, and gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.numbers = nn.Linear(4, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, *, tokens: torch.Tensor, values: torch.Tensor) -> dict[str, torch.Tensor]:
        mixed = self.mix(self.table(tokens).mean(1) + self.numbers(values)).relu()
        return {"logits": self.head(mixed), "hidden": mixed}


def named_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    output = model(tokens=batch["tokens"], values=batch["values"])
    return functional.cross_entropy(output["logits"], batch["labels"])


def named_probe() -> Probe:
    draws = torch.Generator().manual_seed(0)
    batch = {
        "tokens": torch.randint(0, 10, (4, 5), generator=draws),
        "values": torch.randn(4, 4, generator=draws),
        "labels": torch.tensor([0, 1, 2, 0]),
    }
    return probe_of(batch, named_loss)
