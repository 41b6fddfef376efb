"""Features taken out, silenced and scrambled, on tables, images, tokens, words and nested samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from intervention_cases import with_preparation
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from learning_cases import experiment, run, states, trained
from paribus.datasets import FrameDataset
from paribus.engine.building.data import InMemory, Streamed
from paribus.errors import DataError, LevelError, NoEffect, ShapeUnrepairable
from paribus.identity import generator
from paribus.interventions import (
    AblateFeatures,
    Channels,
    Classes,
    FlipLabels,
    Key,
    Patch,
    Samples,
    Slices,
    SubsetSamples,
    Tokens,
    Words,
)
from paribus.interventions.layers import AblateLayers
from paribus.models import MLP

ROWS = 30
MODES = ("drop", "zero", "mean", "permute", "resample", "noise", "mask")


def frame(rows: int = ROWS) -> pl.DataFrame:
    draws = torch.randn(rows, 3, generator=generator(0, "table")).double()
    return pl.DataFrame(
        {
            "age": draws[:, 0].tolist(),
            "sex": ["female" if index % 3 else "male" for index in range(rows)],
            "fare": draws[:, 1].tolist(),
            "alive": [index % 2 for index in range(rows)],
        }
    )


TABLE = FrameDataset(frame(), label="alive")


def table(store: Path, interventions: Any = (), **options: Any) -> Any:
    settings = {"dataset": (TABLE, TABLE), "model": MLP(4, (6,), 2), "batch_size": 8, "steps": 5}
    return experiment(store, interventions, **(settings | options))


def split(*tensors: torch.Tensor, columns: tuple[str, ...] = ()) -> InMemory:
    return InMemory(tensors, columns)


IMAGES = torch.randn(20, 3, 6, 4, generator=generator(0, "images"))
LABELS = torch.arange(20) % 4
PICTURES = {"train": split(IMAGES, LABELS), "test": split(IMAGES[:7] + 1, LABELS[:7])}


def ablated(feature: Any, mode: str = "drop", splits: Any = PICTURES, **options: Any) -> dict[str, Any]:
    changed = AblateFeatures(feature, mode, **options).edit(splits)
    return {name: each.contents for name, each in changed.items()}


# -- what each mode does


def test_dropping_leaves_the_rest_in_order() -> None:
    assert torch.equal(ablated(Channels(1))["test"][0], (IMAGES[:7] + 1)[:, [0, 2]])
    assert torch.equal(ablated(Slices((0, 3), axis=-1))["train"][0], IMAGES[..., [1, 2]])


def test_zero_mask_and_mean_change_the_feature_and_nothing_else() -> None:
    for mode, value in (("zero", 0.0), ("mask", 0.5)):
        images = ablated(Patch((0, 2), (1, 3)), mode, value=value)["train"][0]
        assert (images[:, :, :2, 1:3] == value).all()
        images[:, :, :2, 1:3] = IMAGES[:, :, :2, 1:3]
        assert torch.equal(images, IMAGES)
    means = ablated(Channels(2), "mean")
    for name in ("train", "test"):
        expected = IMAGES[:, 2].double().mean(0).float()
        assert torch.allclose(means[name][0][:, 2], expected.expand_as(means[name][0][:, 2]), atol=1e-6)
    assert torch.equal(means["test"][0][:, :2], PICTURES["test"].contents[0][:, :2])


def test_permuting_keeps_the_values_of_a_split_and_a_group_together() -> None:
    plain = split(torch.arange(40.0).reshape(20, 2), LABELS, columns=("a", "b"))
    (inputs, _) = ablated(("a", "b"), "permute", {"train": plain})["train"]
    assert sorted(inputs[:, 0].tolist()) == plain.contents[0][:, 0].tolist()
    assert not torch.equal(inputs, plain.contents[0])
    assert torch.equal(inputs[:, 1] - inputs[:, 0], torch.ones(20)), "a group moves as one"
    other = ablated(("a", "b"), "permute", {"train": plain}, seed=1)["train"][0]
    assert not torch.equal(inputs, other)


def test_resampling_takes_the_values_of_training_samples() -> None:
    image = ablated(Channels(0), "resample")["test"][0]
    rows = {tuple(row.flatten().tolist()) for row in IMAGES[:, 0]}
    assert {tuple(row.flatten().tolist()) for row in image[:, 0]} <= rows


def test_noise_has_the_moments_of_the_training_samples() -> None:
    data = {"train": split(torch.randn(4000, 2, generator=generator(0, "n")) * 3 + 5, torch.arange(4000))}
    inputs = ablated(Slices(1), "noise", data)["train"][0]
    assert inputs[:, 1].mean() == pytest.approx(5, abs=0.2)
    assert inputs[:, 1].std() == pytest.approx(3, abs=0.2)
    assert torch.equal(inputs[:, 0], data["train"].contents[0][:, 0])


def test_tokens_are_dropped_and_masked() -> None:
    tokens = torch.tensor([[5, 7, 5, 9], [1, 2, 3, 5]])
    data = {"train": split(tokens, torch.tensor([0, 1]))}
    assert ablated(Tokens(5), "drop", data)["train"][0].tolist() == [[7, 9, 0, 0], [1, 2, 3, 0]]
    assert ablated(Tokens((5, 1)), "mask", data, value=99)["train"][0].tolist() == [
        [99, 7, 99, 9],
        [99, 2, 3, 99],
    ]
    assert ablated(Tokens(lambda t: t > 6), "zero", data)["train"][0].tolist() == [[5, 0, 5, 0], [1, 2, 3, 5]]


class Phrases(Dataset[Any]):
    texts = ("Bank A is in crisis", "all is well at Bank B")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return {"text": self.texts[index], "length": len(self.texts[index].split()), "y": index}


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("drop", ["is in crisis", "all is well at"]),
        ("mask", ["bank bank is in crisis", "all is well at bank bank"]),
    ],
)
def test_words_are_masked_as_in_the_thesis(mode: str, told: list[str]) -> None:
    words = Words(lambda word: word in {"Bank", "A", "B"}, fill="bank")
    train = AblateFeatures(words, mode).edit({"train": Streamed(Phrases())})["train"]
    assert next(iter(train.evaluation()))["text"] == told


def test_a_key_of_a_nested_sample_goes_or_is_silenced() -> None:
    nested = {"train": InMemory({"views": {"left": IMAGES, "right": IMAGES + 1}, "y": LABELS})}
    assert ablated("views.left", "drop", nested)["train"]["views"].keys() == {"right"}
    assert ablated(Key("views"), "drop", nested)["train"].keys() == {"y"}
    zeroed = ablated("views.right", "zero", nested)["train"]["views"]
    assert not zeroed["right"].any()
    assert zeroed["left"] is IMAGES
    assert not ablated(Channels(0, at="views.right"), "zero", nested)["train"]["views"]["right"][:, 0].any()


def test_classes_and_samples_are_left_out() -> None:
    assert ablated(Classes((1, 2)))["test"][1].tolist() == [0, 3, 0]
    assert len(ablated(Samples(range(5)))["train"][1]) == 15
    assert len(ablated(Samples(range(5)))["test"][1]) == 7


def test_an_ablation_that_changes_no_training_sample_is_refused(folder: Path) -> None:
    tokens = TensorDataset(torch.arange(40).reshape(10, 4), torch.arange(10) % 2)

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0].float()), batch[1])

    exp = table(folder, AblateFeatures(Tokens(999), "mask"), dataset=(tokens, tokens), objective=loss)
    with pytest.raises(NoEffect, match="leaves every training sample as it is"):
        run(exp)


# -- tables


def test_a_table_becomes_inputs_and_classes() -> None:
    assert TABLE.columns == ("age", "sex=female", "sex=male", "fare")
    inputs, label = TABLE[1]
    assert inputs[1:3].tolist() == [1, 0]
    assert label.item() == 1
    assert FrameDataset(frame().to_dict(as_series=False), "alive").tensors[0].equal(TABLE.tensors[0])


def test_another_table_is_read_like_the_first() -> None:
    few = FrameDataset(frame(3).filter(pl.col("sex") == "female"), "alive", like=TABLE)
    assert few.columns == TABLE.columns
    assert few.classes == (0, 1)
    words = frame(4).with_columns(alive=pl.Series(["no", "yes", "no", "no"]))
    assert FrameDataset(words, "alive").classes == ("no", "yes")
    assert (
        FrameDataset(frame(4).with_columns(alive=pl.Series([0.5] * 4)), "alive").tensors[1].dtype
        == torch.float32
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FrameDataset(frame(), "alife"), "label='alife' is no column .*did you mean 'alive'"),
        (lambda: FrameDataset(frame().with_columns(age=None), "alive"), "30 values of column 'age'"),
        (lambda: FrameDataset(frame().with_columns(age=[[1]] * ROWS), "alive"), "expected numbers, booleans"),
        (lambda: FrameDataset(frame().drop("age"), "alive", like=TABLE), "there is no column 'age'"),
        (lambda: FrameDataset(frame().with_columns(sex=pl.lit("x")), "alive", like=TABLE), "has 'x'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused(make: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        make()


def test_the_inputs_of_a_column_of_words_follow_it(folder: Path) -> None:
    exp = table(folder, AblateFeatures("sex"))
    run(exp)
    assert exp[0].checkpoint().model.fc1.in_features == 2
    one = table(folder, AblateFeatures("sex=male"))
    run(one)
    assert one[0].checkpoint().model.fc1.in_features == 3


def test_a_dropped_column_is_the_table_without_it(folder: Path) -> None:
    """Only the first layer is drawn anew, under its own stream: as a narrower model would draw it."""
    exp = table(folder, AblateFeatures(("age", "sex")))
    run(exp)
    narrow = FrameDataset(frame().drop("age", "sex"), label="alive")
    alone = experiment(folder, dataset=(narrow, narrow), model=MLP(1, (6,), 2), batch_size=8, steps=5)
    run(alone)
    assert states(exp)[0] == states(alone)[0]


def test_a_random_split_of_a_table_keeps_its_names(folder: Path) -> None:
    exp = table(folder, AblateFeatures.make_variations(features=("age", ("age", "fare"))), dataset=TABLE)
    assert not run(exp).failed
    assert [learner.checkpoint().model.fc1.in_features for learner in exp] == [3, 2]


def test_a_data_sets_own_method_is_honoured(folder: Path) -> None:
    class Own(Dataset[Any]):
        """As it is written for Maggy: the method changes the data set itself."""

        def __init__(self) -> None:
            self.rows = TABLE.tensors[0].clone()

        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, index: int) -> Any:
            return self.rows[index], index % 2

        def ablate_feature(self, feature: str) -> None:
            if feature == "first":
                self.rows = self.rows[:, 1:]

    data = Own()
    with pytest.raises(LevelError, match=r"Own.ablate_feature\('frist'\): the data set is the same after"):
        table(folder, AblateFeatures("frist"), dataset=(data, data))
    expected = None
    for memory in (2**30, 1):
        design = [SubsetSamples(0.5), FlipLabels(0.5, classes=2), AblateFeatures("first")]
        exp = table(folder / str(memory), design, dataset=(data, data), memory=memory)
        assert not run(exp).failed
        assert exp[0].checkpoint().model.fc1.in_features == 3
        expected = expected or states(exp)
        assert states(exp) == expected
    assert data.rows.shape == (ROWS, 4), "the user's own stays as it is"


# -- in experiments


@pytest.mark.parametrize("mode", MODES)
def test_both_data_paths_give_the_same_key_and_bits(mode: str, tmp_path: Path) -> None:
    data = {
        name: [TABLE[index] for index in range(ROWS - skip)] for name, skip in (("train", 0), ("test", 9))
    }
    found = []
    for memory in (2**30, 1):
        design = [SubsetSamples(0.7), AblateFeatures(Slices((0, 2)), mode, value=2)]
        exp = table(tmp_path / str(memory), design, dataset=data, memory=memory)
        assert not run(exp).failed
        found.append((exp[0].key, states(exp), exp.frame().to_dicts()))
    assert found[0] == found[1]


def test_nothing_ablated_is_the_control_and_its_execution_changes_no_bit(folder: Path) -> None:
    exp = table(folder, AblateFeatures.make_variations(features=(None, ()), mode=MODES))
    assert len(exp) == 1
    assert exp[0].key == table(folder)[0].key
    run(exp)
    placebo = with_preparation(exp[0].configuration, AblateFeatures())
    assert trained(exp.work, placebo).to_bytes() == states(exp)[0]


def test_what_a_mode_does_not_read_is_in_no_key(folder: Path) -> None:
    keys = {
        table(folder, ablation)[0].key
        for ablation in (
            AblateFeatures("age", seed=1), AblateFeatures(("age",), value=3),
            AblateFeatures(["age"]), AblateFeatures("age"),
        )
    }  # fmt: skip
    assert len(keys) == 1
    pair = [AblateFeatures(("age", "fare")), AblateFeatures(("fare", "age"))]
    assert pair[0] == pair[1]


def test_an_ablation_moves_no_other_layer(folder: Path) -> None:
    exp = table(folder, AblateFeatures.make_variations(features=(None, "age")))
    control, dropped = (learner.checkpoint(0).model for learner in exp)
    assert torch.equal(control.fc2.weight, dropped.fc2.weight)
    silenced = table(folder, AblateFeatures("age", "zero"))[0].checkpoint(0).model
    assert torch.equal(control.fc1.weight, silenced.fc1.weight)


@pytest.mark.parametrize("layers", ["fc1", "fc2"])
def test_data_first_then_the_model(layers: str, folder: Path) -> None:
    model = MLP(4, (6, 6), 2)
    both = [AblateLayers(layers), AblateFeatures("age")]
    exp = table(folder, both, model=model)
    assert not run(exp).failed
    assert table(folder, both[::-1], model=model)[0].key == exp[0].key
    found = exp[0].checkpoint().model
    assert torch.isfinite(found(torch.zeros(2, 3))).all()


def test_serial_and_local_and_resumed_give_the_same_bits(folder: Path) -> None:
    design = AblateFeatures.make_variations(features=("age", ("age", "sex")), mode=MODES)
    design = design + AblateFeatures.make_variations(features=(Classes(0), Samples(3)))
    serial, workers = (table(folder / name, design) for name in ("serial", "local"))
    assert not run(serial).failed
    run(workers, "local", workers=2)
    assert states(serial) == states(workers)
    for steps in (2, 5):
        resumed = table(folder / "resumed", design, steps=steps)
        run(resumed)
    assert states(resumed) == states(serial)


def test_an_image_without_a_channel_rebuilds_the_first_convolution(folder: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    data = TensorDataset(IMAGES, LABELS)
    design = AblateFeatures.make_variations(features=(Channels(0), Slices(range(1), axis=-1)))
    exp = experiment(folder, design, dataset=(data, data), model=net, batch_size=8)
    assert not run(exp).failed
    channels, columns = (learner.checkpoint().model for learner in exp)
    assert (channels[0].in_channels, channels[4].in_features) == (2, 32)
    assert (columns[0].in_channels, columns[4].in_features) == (3, 16)


def test_a_shape_that_no_layer_can_follow_is_refused_with_its_type(folder: Path) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.head(inputs * torch.arange(4.0))

    with pytest.raises(ShapeUnrepairable, match=r"'forward' fails on .*give mode='zero' or 'mean'"):
        run(table(folder, AblateFeatures("age"), model=Fixed()))


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda: AblateFeatures("age", "dorp"), "mode='dorp' is no mode .*did you mean 'drop'"),
        (lambda: AblateFeatures(3), "3 is no feature; expected a name, or Channels"),  # type: ignore[arg-type]
        (
            lambda: AblateFeatures(Patch((0, 1), (0, 1))),
            "cannot be ablated with mode='drop'; give one of mask",
        ),
        (lambda: AblateFeatures(Classes(1), "zero"), "give one of drop"),
        (lambda: Channels(()), "Channels: it selects nothing"),
        (lambda: Patch((3, 3), (0, 1)), "rows=3 is no whole number >= 4"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_written(write: Any, told: str) -> None:
    with pytest.raises(LevelError, match=told):
        write()


@pytest.mark.parametrize(
    ("ablation", "told"),
    [
        (AblateFeatures("agee"), r"'agee' is no column of the table \(age, sex, fare\); did you mean 'age'"),
        (AblateFeatures("aeg", "mean"), "did you mean 'age'"),
        (AblateFeatures(Channels(0, at="1"), "zero"), r"can be no part of '1' of a sample"),
        (AblateFeatures(Slices(0, axis=3), "zero"), "no leaf of a sample is one for Slices"),
        (AblateFeatures(Slices(9), "zero"), "means 9, and a sample has 0 to 3"),
        (AblateFeatures(Channels(0), "zero"), "no leaf of a sample is one for Channels"),
        (AblateFeatures("*"), "is all that a sample has"),
        (AblateFeatures(Key("3")), r"'3' is no key of a sample \(0, 1\)"),
        (AblateFeatures(Tokens(1, at="1.x")), "'x' is no key of '1.x' of a sample"),
        (AblateFeatures(Samples(99)), "names samples that the 30 of train do not have"),
        (AblateFeatures(Classes(9)), r"means none or all of the classes of a split \(0, 1\)"),
    ],
)
def test_what_the_data_has_not_is_refused_before_training(ablation: Any, told: str, folder: Path) -> None:
    with pytest.raises(LevelError, match=told):
        table(folder, ablation)


def test_numbers_without_a_mean_and_names_of_no_table_say_what_to_do(folder: Path) -> None:
    tokens = TensorDataset(torch.arange(40).reshape(10, 4), torch.arange(10) % 2)
    options: dict[str, Any] = {"dataset": (tokens, tokens)}
    with pytest.raises(LevelError, match="has no mean; give mode='mask' or 'permute'"):
        table(folder, AblateFeatures(Slices(1), "mean"), **options)
    with pytest.raises(LevelError, match=r"'word' is no key of a sample \(0, 1\).*give FrameDataset"):
        table(folder, AblateFeatures("word"), **options)


def test_the_levels_of_a_table_tell_the_features(folder: Path) -> None:
    exp = table(
        folder, AblateFeatures.make_variations(features=("age", ("age", "fare"), Slices(1)), mode="zero")
    )
    column = exp.results()["AblateFeatures.features"]
    assert column.to_list() == ["age", "['age', 'fare']", "Slices(which=(1,), axis=0)"]
