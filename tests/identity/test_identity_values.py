"""The grammar, fingerprints in one process, errors, streams and differences."""

from __future__ import annotations

import copy
import cProfile
import importlib
import math
import re
import struct
import threading
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from paribus.errors import FingerprintError
from paribus.identity import (
    File,
    accept,
    audit,
    derive_seed,
    digest,
    exclude,
    fingerprint,
    fingerprint_module,
    generator,
    versioned,
)
from paribus.identity.audit import calls_made, outside
from paribus.identity.difference import difference
from paribus.identity.grammar import VERSION, plain
from paribus.identity.reading import text

VECTORS = Path(__file__).parents[2] / "docs" / "identity.md"
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
)
hashable = scalars | st.tuples(scalars, scalars)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(hashable, inner)
        | st.frozensets(hashable)
        | st.tuples(inner, inner)
        | st.sets(hashable)
    ),
    max_leaves=12,
)


def test_the_vectors_of_the_documentation():
    rows = re.findall(
        r"^\| `(.+?)` \| `([0-9a-f ]+)` \| `([0-9a-f]{32})` \|$", VECTORS.read_text(), re.MULTILINE
    )
    assert len(rows) >= 20
    for written, form, hashed in rows:
        value = eval(written, {"nan": math.nan})
        assert plain(value).hex() == form.replace(" ", ""), written
        assert digest(value).hex() == hashed, written
        assert xxh3_128_digest(VERSION + bytes.fromhex(form)).hex() == hashed, written


@given(values)
def test_a_copy_has_the_same_digest(value):
    assert digest(copy.deepcopy(value)) == digest(value)


def exactly_equal(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, complex):
        return exactly_equal(a.real, b.real) and exactly_equal(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(exactly_equal, a, b))
    return a == b


@given(st.lists(scalars) | scalars, st.lists(scalars) | scalars)
def test_digests_are_equal_where_values_are_exactly_equal(a, b):
    assert (digest(a) == digest(b)) == exactly_equal(a, b)


@given(st.dictionaries(hashable, scalars))
def test_the_order_of_a_dict_does_not_count(value):
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(values)
def test_forms_can_be_read_back(value):
    assert isinstance(text(plain(value)), str)


def test_scalars_of_numpy_are_plain_inside_others():
    assert digest([np.float64(0.1), {"a": np.int64(3)}]) == digest([0.1, {"a": 3}])
    assert digest([torch.float32]) != digest([torch.float64])


def test_a_list_that_holds_itself():
    one, two = [1], [1]
    one.append(one)
    two.append([1, two])
    assert digest(one) == digest(two)
    assert digest(one) != digest([1, [1]])


def test_the_same_graph_in_another_cut_is_the_same():
    def ring(size: int) -> SimpleNamespace:
        nodes = [SimpleNamespace(kind="a") for _ in range(size)]
        for place, node in enumerate(nodes):
            node.next = nodes[(place + 1) % size]
        return nodes[0]

    assert digest(ring(1)) == digest(ring(2)) == digest(ring(5))
    other = ring(3)
    other.next.kind = "b"
    assert digest(other) != digest(ring(3))
    assert digest(other) != digest(other.next)


SCALE = 2.0
LIST = [1, 2]
TABLE = {"relu": torch.relu}


def scaled(x):
    return x * SCALE * LIST[0]


def looked_up(x):
    return TABLE["relu"](scaled(x))


class Part(nn.Module):
    rate = 1.0

    def forward(self, x):
        return looked_up(x) * self.rate


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setitem(globals(), "SCALE", 3.0),
        lambda patch: patch.setitem(globals(), "scaled", lambda x: x),
        lambda patch: patch.setattr(scaled, "__code__", (lambda x: x).__code__),
        lambda patch: patch.setattr(scaled, "__defaults__", (3,)),
        lambda patch: patch.setitem(TABLE, "relu", torch.tanh),
        lambda patch: patch.setattr(Part, "rate", 2.0),
        lambda patch: patch.setattr(Part, "extra", 2.0, raising=False),
        lambda patch: patch.setattr(Part, "forward", lambda self, x: x),
        lambda patch: patch.setattr(scaled, "note", "a", raising=False),
        lambda patch: patch.setattr(torch, "__version__", "9.9.0"),
        lambda patch: patch.setattr(nn.Module, "zero_grad", lambda self: None),
    ],
)
def test_a_digest_from_memory_sees_what_was_put_in_place_since(change, monkeypatch):
    subjects = (Part, Part())
    before = [digest(value) for value in subjects]
    assert [digest(value) for value in subjects] == before
    with monkeypatch.context() as patch:
        change(patch)
        after = [digest(value) for value in subjects]
        assert not set(after) & set(before)
    assert [digest(value) for value in subjects] == before


def test_a_digest_from_memory_sees_a_list_that_was_changed():
    before = digest(looked_up)
    LIST.append(3)
    assert digest(looked_up) != before
    LIST.pop()
    assert digest(looked_up) == before


def test_marks_count_after_a_digest():
    def inner(x):
        return x

    def caller(x):
        return inner(x)

    before = digest(caller)
    versioned(inner, version="7")
    marked = digest(caller)
    assert marked != before
    assert accept(inner, same_as="ab" * 16) is inner
    assert digest(caller) != marked
    assert digest(inner).hex() != digest(caller).hex()


def test_accepted_as_the_same():
    def old(x):
        return x + 1

    def new(x):
        return 1 + x

    assert digest(accept(new, same_as=digest(old).hex())) == digest(old)
    with pytest.raises(FingerprintError, match="expected its 32 hex digits"):
        accept(new, same_as="xyz")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


class Endless(Dataset):
    def __getitem__(self, index):
        return index


class Drawn(Dataset):
    def __init__(self):
        self.generator = torch.Generator()

    def __len__(self):
        return 1


class Holder:
    def __init__(self, inner):
        self.inner = inner


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Stream(), "Stream 'Stream': an iterable dataset"),
        (Endless(), "without a length"),
        (Drawn(), "Drawn.generator 'Generator': a generator of random numbers"),
        (Holder({"a": [Path("x")]}), r"Holder.inner\['a'\]\[0\] 'PosixPath': .*File\(path\)"),
        (Holder(iter([])), r"Holder.inner 'list_iterator'.*give it version=…, or exclude\(reason=…\)"),
        (nn.Sequential(Holder, nn.ReLU()) if False else torch.Generator(), "Generator"),
        (File("no/such/file"), "cannot be read"),
        (np.random.default_rng(0), "keep its seed"),
    ],
)
def test_what_has_no_identity_is_an_error_with_its_path_and_the_mend(value, words):
    with pytest.raises(FingerprintError, match=words):
        digest(value)


def test_the_path_to_a_piece_of_a_model():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].activation = (x for x in ())
    with pytest.raises(FingerprintError, match=r"model\.0\.activation 'generator'"):
        fingerprint(model, name="model")
    exclude(model[0], "activation", reason="never called")
    assert len(digest(model)) == 16


def test_excluded_and_versioned_values_are_recorded():
    held = Holder(versioned(Holder(iter([])), version="3"))
    assert fingerprint(held).parts["inner"] == "version 3"
    held = Holder(exclude(Holder(iter([])), reason="a cursor"))
    assert fingerprint(held).parts["inner"] == "excluded: a cursor"
    assert digest(held) == digest(Holder(exclude(Holder(iter([])), reason="in other words")))


def test_contents_of_weights_count_only_where_they_are_kept():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint_module(one).digest == fingerprint_module(two).digest
    assert fingerprint_module(one, contents=True).digest != fingerprint_module(two, contents=True).digest
    two.load_state_dict(one.state_dict())
    assert fingerprint_module(one, contents=True).digest == fingerprint_module(two, contents=True).digest


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    name: str = field(default="", compare=False)


def test_a_dataclass_is_its_class_and_the_fields_that_compare():
    assert digest(Point(1)) == digest(Point(1, name="a"))
    assert digest(Point(1)) != digest(Point(1, 3))
    assert digest([Point(1)]) == digest([Point(1)]) != digest([Point(2)])
    assert len(fields(Point)) == 3


def test_parts_are_text_of_pieces():
    parts = fingerprint(Part()).parts
    assert parts["class/forward"] == "def forward(self, x):\n    return looked_up(x) * self.rate"
    assert parts["class/forward/looked_up/scaled/SCALE"] == "2.0"
    nested = fingerprint(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.25))).parts
    assert (nested["0/kernel_size"], nested["1/p"]) == ("(3, 3)", "0.25")
    assert nested["0/weight"] == "float32 (2, 1, 3, 3) weight 0"


def test_a_difference_in_words():
    def before(x):
        return nn.Conv2d(1, 2, kernel_size=3)(x)

    def after(x):
        return nn.Conv2d(1, 2, kernel_size=5)(x)

    after.__name__ = before.__name__
    old, new = fingerprint(before).parts, fingerprint(after).parts
    assert difference(old, new) == ["it changed (before → after; kernel_size 3 → 5)"]
    labels = torch.zeros(1200, dtype=torch.long)
    old = fingerprint(TensorDataset(torch.zeros(1200, 3), labels.clone())).parts
    labels[7] = 1
    new = fingerprint(TensorDataset(torch.zeros(1200, 3), labels)).parts
    assert difference(old, new) == ["1 of 1200 labels"]
    assert difference(new, new) == []
    assert difference({"a": "1"}, {"b": "2"}) == ["a is gone (was 1)", "b is new (2)"]


def test_an_audit_knows_what_a_fingerprint_counts():
    ran = calls_made(partial(looked_up, torch.ones(2)))
    assert {code.co_name for code in ran} == {"looked_up", "scaled"}
    assert outside(ran, [fingerprint(Part)]) == []
    assert len(outside(ran, [fingerprint(scaled)])) == 1

    def declared(x):
        return scaled(x)

    ran = calls_made(partial(declared, torch.ones(2)))
    assert outside(ran, [fingerprint(versioned(declared, version="1"))]) == []


def test_an_audit_ends_while_threads_of_what_it_watched_go_on(monkeypatch):
    begun, over, later = (threading.Event() for _ in range(3))
    known = audit._is_users

    def thread():
        begun.set()
        over.wait()
        scaled(torch.ones(2))
        later.set()

    def asked(code, module):
        over.set()
        later.wait()  # a call of the thread's, in the midst of the reading
        return known(code, module)

    monkeypatch.setattr(audit, "_is_users", asked)
    going_on = threading.Thread(target=thread)
    names = {code.co_name for code in calls_made(lambda: (going_on.start(), begun.wait()))}
    going_on.join()
    assert "thread" in names
    assert "scaled" not in names


@given(st.integers(-(2**70), 2**70), st.text(), st.lists(st.integers() | st.text(max_size=5), max_size=3))
def test_a_seed_is_the_hash_of_its_place(seed, stream, at):
    derived = derive_seed(seed, stream, *at)
    assert derived == xxh3_64_intdigest(VERSION + plain((seed, stream, *at))) % 2**63
    assert 0 <= derived < 2**63


def test_streams_are_apart():
    seeds = {derive_seed(s, name, t) for s in range(20) for name in ("init", "order") for t in range(20)}
    assert len(seeds) == 800
    one, two = (torch.rand(5, generator=generator(3, "init", 7)) for _ in range(2))
    assert torch.equal(one, two)
    assert derive_seed(np.int64(3), "init") == derive_seed(3, "init")


def test_files_count_by_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "x.csv").write_text("1,2")
    assert digest(File(tmp_path / "a")) == digest(File(tmp_path / "b"))
    assert digest(File(tmp_path / "a" / "x.csv")) == digest(File(tmp_path / "b" / "x.csv"))
    (tmp_path / "b" / "x.csv").write_text("1,3")
    assert digest(File(tmp_path / "a")) != digest(File(tmp_path / "b"))


def test_a_digest_from_memory_sees_an_import_that_can_be_made_now(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def lazy(x):
        import not_yet_written

        return not_yet_written.scale(x)

    before = digest(lazy)
    (tmp_path / "not_yet_written.py").write_text("def scale(x):\n    return x * 2\n")
    importlib.invalidate_caches()
    assert digest(lazy) != before


def test_functions_that_call_each_other_can_be_declared():
    def even(x):
        return odd(x - 1)

    def odd(x):
        return even(x - 1)

    versioned(even, version="1")
    versioned(odd, version="1")
    assert len(fingerprint(even).covered) == 2


def test_an_attribute_of_a_weight_counts():
    plain_layer, marked = nn.Linear(2, 2), nn.Linear(2, 2)
    marked.weight.scale = 0.1
    assert digest(marked) != digest(plain_layer)


def test_a_simple_module_is_written_as_any_other(monkeypatch):
    from paribus.identity import torch_values

    layers = [nn.Linear(2, 3), nn.Linear(2, 3, bias=False), nn.Dropout(0.2), nn.Embedding(3, 4), nn.ReLU()]
    soon = [digest(layer) for layer in layers]
    monkeypatch.setattr(torch_values, "_simple_form", lambda walk, module, own: None)
    assert [digest(layer) for layer in layers] == soon


def test_an_audit_leaves_a_profiler_of_the_users_alone():
    profiler = cProfile.Profile()
    profiler.enable()
    calls_made(lambda: None)
    math.gcd(4, 6)
    profiler.disable()
    assert any("gcd" in str(entry.code) for entry in profiler.getstats())
