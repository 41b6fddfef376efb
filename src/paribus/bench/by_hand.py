"""The other side: training loops as a good engineer writes them by hand, without Paribus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

Batches = Iterable[Any]
BATCH_SIZE = 32
EVALUATION_BATCH = 1024


def loop_with_dataloader(
    make: Callable[[], nn.Module], data: Mapping[str, TensorDataset], epochs: int, seed: int, log: Path
) -> None:
    """Train with ``DataLoader``, as the tutorials do; evaluate every split and log at each epoch's end."""
    torch.manual_seed(seed)
    model = make()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    training = DataLoader(data["train"], batch_size=BATCH_SIZE, shuffle=True)
    splits = {name: DataLoader(split, batch_size=EVALUATION_BATCH) for name, split in data.items()}
    with log.open("w") as file:
        _log(file, 0, model, splits)
        for epoch in range(1, epochs + 1):
            for inputs, targets in training:
                step(model, optimizer, inputs, targets)
            _log(file, epoch, model, splits)


def loop_with_tensors(
    make: Callable[[], nn.Module], data: Mapping[str, TensorDataset], epochs: int, seed: int, log: Path
) -> None:
    """Train by indexing tensors, the fastest plain loop; evaluate and log as above."""
    torch.manual_seed(seed)
    model = make()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = data["train"].tensors
    splits = {name: _slices(split) for name, split in data.items()}
    with log.open("w") as file:
        _log(file, 0, model, splits)
        for epoch in range(1, epochs + 1):
            for indices in torch.split(torch.randperm(len(images)), BATCH_SIZE):
                step(model, optimizer, images[indices], labels[indices])
            _log(file, epoch, model, splits)


def one_step(make: Callable[[], nn.Module], data: Mapping[str, TensorDataset], seed: int) -> None:
    """Draw weights, take one step on one batch, and evaluate before and after it."""
    torch.manual_seed(seed)
    model = make()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = data["train"].tensors
    splits = {name: _slices(split) for name, split in data.items()}
    evaluate(model, splits)
    indices = torch.randperm(len(images))[:BATCH_SIZE]
    step(model, optimizer, images[indices], labels[indices])
    evaluate(model, splits)


def step(model: nn.Module, optimizer: SGD, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Take one optimizer step."""
    optimizer.zero_grad()
    cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def evaluate(model: nn.Module, splits: Mapping[str, Batches]) -> dict[str, float]:
    """Return mean loss and accuracy on every split."""
    row: dict[str, float] = {}
    model.eval()
    with torch.no_grad():
        for name, batches in splits.items():
            loss, right, count = 0.0, 0, 0
            for inputs, targets in batches:
                outputs = model(inputs)
                loss += cross_entropy(outputs, targets, reduction="sum").item()
                right += int((outputs.argmax(1) == targets).sum())
                count += len(targets)
            row |= {f"{name}/loss": loss / count, f"{name}/accuracy": right / count}
    model.train()
    return row


def _log(file: Any, epoch: int, model: nn.Module, splits: Mapping[str, Batches]) -> None:
    file.write(json.dumps({"epoch": epoch} | evaluate(model, splits)) + "\n")


def _slices(split: TensorDataset) -> Batches:
    images, labels = split.tensors
    return list(zip(*(torch.split(tensor, EVALUATION_BATCH) for tensor in (images, labels)), strict=True))
