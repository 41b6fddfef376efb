# ruff: noqa: E501
"""Pairs of projects, before and after an edit, and whether the key of `main.subject` changes with it."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

Files = dict[str, str]


@dataclass(frozen=True)
class Case:
    name: str
    before: Files
    after: Files
    changes: bool
    torch: bool = False


def _files(text: str | Files) -> Files:
    files = {"main.py": text} if isinstance(text, str) else text
    return {name: dedent(content) for name, content in files.items()}


def changes(name: str, before: str | Files, after: str | Files, torch: bool = False) -> Case:
    return Case(name, _files(before), _files(after), True, torch)


def stays(name: str, before: str | Files, after: str | Files, torch: bool = False) -> Case:
    return Case(name, _files(before), _files(after), False, torch)


def edits(old: str, new: str, text: str | Files, name: str, torch: bool = False, keeps: bool = False) -> Case:
    """Make a case of one project in which a piece of text is replaced."""
    before = _files(text)
    after = {path: content.replace(old, new) for path, content in before.items()}
    assert before != after, name
    return Case(name, before, after, not keeps, torch)


HELPED = {
    "main.py": "from helpers import scale\ndef subject(x):\n    return scale(x) + 1\n",
    "helpers.py": "FACTOR = 2.0\ndef scale(x):\n    return inner(x) * FACTOR\ndef inner(x):\n    return x - 1\n",
}
ATTRIBUTE = {
    "main.py": "import pkg.tools as t\ndef subject(x):\n    return t.scale(x)\n",
    "pkg/__init__.py": "",
    "pkg/tools.py": "def scale(x):\n    return x * 2\ndef unused(x):\n    return x\n",
}
LAZY = {
    "main.py": "def subject(x):\n    from helpers import scale as s\n    return s(x)\n",
    "helpers.py": "def scale(x):\n    return x * 2\n",
}
LAZY_MODULE = {
    "main.py": "def subject(x):\n    import pkg.tools\n    return pkg.tools.scale(x)\n",
    "pkg/__init__.py": "",
    "pkg/tools.py": "def scale(x):\n    return x * 2\n",
}
RELATIVE = {
    "main.py": "from pkg.uses import subject\n",
    "pkg/__init__.py": "",
    "pkg/uses.py": "def subject(x):\n    from .tools import scale\n    return scale(x)\n",
    "pkg/tools.py": "def scale(x):\n    return x * 2\n",
}
CLASSES = """
    class Base:
        rate = 0.5
        def step(self, x):
            return x * self.rate
    class Child(Base):
        def run(self, x):
            return self.step(x) + 1
        @property
        def double(self):
            return 2
        @staticmethod
        def still(x):
            return x
    subject = Child
"""
DECORATED = """
    import functools
    def times(n):
        def decorate(f):
            @functools.wraps(f)
            def wrapper(*args):
                return n * f(*args)
            return wrapper
        return decorate
    @times(3)
    def subject(x):
        return x + 1
"""
ARRAY = """
    import numpy as np
    TABLE = np.arange(10_000_000, dtype=np.float32)
    TABLE[7_654_321] = 0
    def subject(i):
        return TABLE[i]
"""
MIXED = """
    import math
    from dataclasses import dataclass
    SCALE = 2.0
    def helper(x):
        return x * SCALE
    @dataclass
    class Settings:
        width: int = 3
        names: tuple = ("a", "b")
        def area(self):
            return self.width ** 2
    class Thing:
        flag = True
        def alpha(self, x):
            return helper(x) + math.sin(x)
        def beta(self, x, *, lr=0.1):
            values = {"a": 1, "b": 2}
            return [y for y in values if y != "c"] or self.alpha(x)
    def subject(x, y=1, *, z="z"):
        def inner(q):
            return q + y
        return Thing().beta(inner(x)), Settings(), f"{x!r:>{y}} and {z}"
"""
COSMETIC = '''
    """A docstring."""
    import math  # a comment
    from dataclasses import dataclass

    UNRELATED = object()
    SCALE: float = 2.0

    @dataclass
    class Settings:
        """Another."""

        width: "int" = 3
        names: tuple[str, ...] = ('a',
                                  'b')

        def area(self) -> int:
            """Area."""
            return (self.width) ** 2

    class Unrelated:
        pass

    class Thing:

        def beta(self, x: float, *, lr: float = 0.1) -> "list[float]":
            """Docstring."""
            values = {
                'a': 1,
                "b": (2),
            }
            return [y for y in values
                    if y != """c"""] or (self.alpha(x))

        flag = True

        def alpha(self, x):
            count: int
            return (helper(x) + math.sin(x))  # moved

    def unrelated(x):
        return x

    def subject(x: int, y: int = 1, *, z: str = 'z') -> tuple:
        "docstring"
        def inner(q: int) -> int:
            """Inner."""
            return q + y
        return (Thing().beta(inner(x)), Settings(), f'{x!r:>{y}} and {z}')

    def helper(x):
        return (x *
                SCALE)
'''
PLAIN = [
    edits("* 2", "* 3", "def subject(x):\n    return x * 2\n", "a numeric constant"),
    edits("2.0", "2", "def subject(x):\n    return x * 2.0\n", "a float constant to an int"),
    edits("'a'", "'b'", "def subject(x):\n    return x + 'a'\n", "a string constant"),
    edits("x + y", "x - y", "def subject(x, y):\n    return x + y\n", "an operator"),
    edits("x < y", "x <= y", "def subject(x, y):\n    return x < y\n", "a comparison"),
    edits(
        "math.sin",
        "math.cos",
        "import math\ndef subject(x):\n    return math.sin(x)\n",
        "sin to cos by attribute",
    ),
    edits(
        "import sin",
        "import cos",
        "from math import sin as f\ndef subject(x):\n    return f(x)\n",
        "sin to cos by import",
    ),
    edits("x - 1", "x - 2", HELPED, "a helper of a helper in another module"),
    edits("2.0", "2.5", HELPED, "a global scalar of another module"),
    edits("x * 2", "x * 3", ATTRIBUTE, "a helper reached through a module"),
    edits("x * 2", "x * 3", LAZY, "a helper imported inside the function"),
    edits("x * 2", "x * 3", LAZY_MODULE, "a helper in a module imported inside the function"),
    edits("x * 2", "x * 3", RELATIVE, "a helper imported relatively inside the function"),
    edits("self.rate", "self.rate + 1", CLASSES, "a base class's method"),
    edits("rate = 0.5", "rate = 0.25", CLASSES, "a base class's attribute"),
    edits("+ 1", "+ 2", CLASSES, "a method"),
    edits("return 2", "return 3", CLASSES, "a property"),
    edits("return x\n", "return -x\n", CLASSES, "a static method"),
    edits(
        "Child(Base)",
        "Child(Other)",
        CLASSES.replace("class Child", "class Other(Base):\n        rate = 0.1\n    class Child"),
        "the base class",
    ),
    edits("x=1", "x=2", "def subject(x=1):\n    return x\n", "a default"),
    edits("x=1", "x=2", "def subject(*, x=1):\n    return x\n", "a keyword-only default"),
    edits(
        "make(1)",
        "make(2)",
        "def make(n):\n    def inner(x):\n        return x + n\n    return inner\nsubject = make(1)\n",
        "a closure value",
    ),
    edits("times(3)", "times(4)", DECORATED, "a decorator's argument"),
    edits("x + 1", "x + 2", DECORATED, "a decorated function"),
    edits("n * f", "n + f", DECORATED, "a decorator"),
    edits(
        "n=1",
        "n=2",
        "from functools import partial\ndef f(x, n):\n    return x + n\nsubject = partial(f, n=1)\n",
        "a partial's keyword",
    ),
    edits(
        "(f, 1)",
        "(f, 2)",
        "from functools import partial\ndef f(x, n):\n    return x + n\nsubject = partial(f, 1)\n",
        "a partial's argument",
    ),
    edits("[0]", "[1]", "subject = [lambda x: x + 1, lambda x: x + 2][0]\n", "the second lambda on a line"),
    edits(
        "x + 2",
        "x + 3",
        "first, subject = lambda x: x + 1, lambda x: x + 2\n",
        "inside the second lambda on a line",
    ),
    edits(
        "x + 1",
        "x + 9",
        "first, subject = lambda x: x + 1, lambda x: x + 2\n",
        "inside the other lambda on the line",
        keeps=True,
    ),
    edits("A = 1", "A = 2", "A = 1\ndef subject(x):\n    return x + A\n", "a global scalar"),
    edits("7_654_321", "7_654_322", ARRAY, "one element of a global array of 10 million"),
    edits(
        "x + 1",
        "x + 2",
        "def f(x):\n    return x + 1\nTABLE = {'f': f}\ndef subject(name, x):\n    return TABLE[name](x)\n",
        "a function in a registry dict",
    ),
    edits(
        "'f': f",
        "'f': g",
        "def f(x):\n    return x + 1\ndef g(x):\n    return x\nTABLE = {'f': f}\ndef subject(name, x):\n    return TABLE[name](x)\n",
        "another function in a registry dict",
    ),
    changes(
        "a monkey-patched method",
        CLASSES,
        CLASSES + "    def patch(self, x):\n        return 0\n    Child.run = patch\n",
    ),
    changes(
        "a monkey-patched method of an instance",
        CLASSES.replace("= Child", "= Child()"),
        CLASSES.replace("= Child", "= Child()\n    subject.run = lambda x: 0"),
    ),
    edits(
        "x + 1",
        "x + 2",
        "space = {}\nexec('def subject(x): return x + 1', space)\nsubject = space['subject']\n",
        "a function made by exec",
    ),
    edits(
        "y + 1",
        "y + 2",
        "space = {}\nexec('def f(y): return y + 1\\ndef subject(x): return f(x)', space)\nsubject = space['subject']\n",
        "what a function made by exec calls",
    ),
    edits(
        "1)",
        "2)",
        "from enum import Enum\nclass Mode(Enum):\n    A = (1)\ndef subject(x):\n    return Mode.A.value * x\n",
        "the value of an enum",
    ),
    edits("width: int = 3", "width: int = 4", MIXED, "a dataclass's default"),
    edits("self.width ** 2", "self.width ** 3", MIXED, "a dataclass's method"),
    edits("q + y", "q - y", MIXED, "an inner function"),
    edits('!= "c"', '== "c"', MIXED, "inside a comprehension"),
    edits(":>{y}", ":<{y}", MIXED, "the format of an f-string"),
    edits(
        "x - 1",
        "x - 2",
        "def even(x):\n    return odd(x - 1)\ndef odd(x):\n    return even(x) + 1\nsubject = even\n",
        "inside mutual recursion",
    ),
    edits(
        "+ 1",
        "+ 2",
        "def even(x):\n    return odd(x - 1)\ndef odd(x):\n    return even(x) + 1\nsubject = even\n",
        "deeper inside mutual recursion",
    ),
    edits(
        "self.k = 1",
        "self.k = 2",
        "class C:\n    def __init__(self):\n        self.k = 1\n        self.me = self\nsubject = C()\n",
        "an attribute of an object that holds itself",
    ),
    edits(
        "= helper",
        "= other",
        "def helper(x): return x\ndef other(x): return -x\nclass C:\n    f = helper\nsubject = C\n",
        "a function as a class attribute",
    ),
    edits(
        "maxsize=2",
        "maxsize=3",
        "from functools import lru_cache\n@lru_cache(maxsize=2)\ndef subject(x):\n    return x\n",
        "a cache's argument",
    ),
    edits(
        "return x",
        "return -x",
        "from functools import lru_cache\n@lru_cache(maxsize=2)\ndef subject(x):\n    return x\n",
        "a cached function",
    ),
    edits(
        "n = 1",
        "n = 2",
        "class Meta(type):\n    n = 1\nclass subject(metaclass=Meta):\n    pass\n",
        "a metaclass",
    ),
    edits(
        "global_scale",
        "global_shift",
        "global_scale = 2\nglobal_shift = 3\ndef subject(x):\n    return x + global_scale\n",
        "which global is read",
    ),
    changes("the order where order matters", "subject = ['a', 'b']\n", "subject = ['b', 'a']\n"),
    changes("list and tuple", "subject = [1]\n", "subject = (1,)\n"),
    changes("int and bool", "subject = 1\n", "subject = True\n"),
    changes("zero and minus zero", "subject = 0.0\n", "subject = -0.0\n"),
    changes("float32 scalar", "import numpy as np\nsubject = np.float32(0.1)\n", "subject = 0.1\n"),
    changes(
        "array dtype",
        "import numpy as np\nsubject = np.zeros(3, 'f4')\n",
        "import numpy as np\nsubject = np.zeros(3, 'f8')\n",
    ),
    changes(
        "array shape",
        "import numpy as np\nsubject = np.zeros((2, 3))\n",
        "import numpy as np\nsubject = np.zeros((3, 2))\n",
    ),
    changes(
        "a version that is declared",
        "from paribus.identity import versioned\ndef f(x): return x\nsubject = versioned(f, version='1')\n",
        "from paribus.identity import versioned\ndef f(x): return x\nsubject = versioned(f, version='2')\n",
    ),
    changes(
        "what is declared to be depended on",
        "from paribus.identity import depends_on\ndef g(x): return x\ndef f(x): return x\nsubject = depends_on(f, g)\n",
        "from paribus.identity import depends_on\ndef g(x): return -x\ndef f(x): return x\nsubject = depends_on(f, g)\n",
    ),
    changes(
        "numpy's version",
        "import numpy\ndef subject(x):\n    return numpy.sin(x)\n",
        "import numpy\nnumpy.__version__ = '9.9.0'\ndef subject(x):\n    return numpy.sin(x)\n",
    ),
    stays("cosmetics of every kind", MIXED, COSMETIC),
    stays(
        "string prefixes, numbers, parentheses",
        "def subject(x):\n    return u'a' + 'b\\x63' + str((1000 + .5) * 0x10)\n",
        "def subject(x):\n    return ('a' + \"bc\"\n        + str(((1_000 + 0.5)) * 16))\n",
    ),
    stays("an empty body", "def subject(x):\n    pass\n", "def subject(x):\n    'docstring'\n"),
    stays(
        "a project moved into a package",
        "def h(x):\n    return x\ndef subject(x):\n    return h(x)\n",
        {
            "main.py": "from deep.place import subject\n",
            "deep/__init__.py": "",
            "deep/place.py": "def h(x):\n    return x\ndef subject(x):\n    return h(x)\n",
        },
    ),
    stays("order of dicts", "subject = {'a': 1, 'b': [2]}\n", "subject = {'b': [2], 'a': 1}\n"),
    stays("order of sets", "subject = {'a', 'b', 'c', 'dd'}\n", "subject = {'dd', 'c', 'b', 'a'}\n"),
    stays(
        "order of keyword arguments",
        "from functools import partial\nsubject = partial(dict, a=1, b=2)\n",
        "from functools import partial\nsubject = partial(dict, b=2, a=1)\n",
    ),
    stays(
        "order of a registry",
        "def f(x): return x\ndef g(x): return -x\nT = {'f': f, 'g': g}\ndef subject(n, x): return T[n](x)\n",
        "def g(x): return -x\ndef f(x): return x\nT = {'g': g, 'f': f}\ndef subject(n, x): return T[n](x)\n",
    ),
    stays(
        "a function called 200 times first",
        "def subject(x):\n    return sum(i * 2.0 for i in range(x))\n",
        "def subject(x):\n    return sum(i * 2.0 for i in range(x))\nfor _ in range(200):\n    subject(50)\n",
    ),
    stays(
        "numpy's scalars",
        "subject = (0.1, 3, True, 'a', 1j)\n",
        "import numpy as np\nsubject = (np.float64(0.1), np.int64(3), np.bool_(True), np.str_('a'), np.complex128(1j))\n",
    ),
    stays(
        "a view of an array",
        "import numpy as np\nsubject = np.arange(12.0).reshape(3, 4).T.copy()\n",
        "import numpy as np\nsubject = np.arange(12.0).reshape(3, 4).T\n",
    ),
    stays(
        "unrelated code in a helper's module",
        ATTRIBUTE,
        ATTRIBUTE
        | {"pkg/tools.py": ATTRIBUTE["pkg/tools.py"].replace("return x\n", "return -x\n") + "NEW = 1\n"},
    ),
    stays(
        "a local name like an unrelated global",
        "def subject(model):\n    loss = model\n    return [x for x in loss]\n",
        "model = object()\nloss = x = open(__file__)\ndef subject(model):\n    loss = model\n    return [x for x in loss]\nloss.close()\n",
    ),
    stays(
        "a class run again",
        "class C:\n    def __init__(self):\n        super().__init__()\n    def make(self):\n        return C()\nsubject = C\n",
        "class C:\n    def __init__(self):\n        super().__init__()\n    def make(self):\n        return C()\nsubject = C\nclass C:\n    def __init__(self):\n        super().__init__()\n    def make(self):\n        return C()\n",
    ),
    stays(
        "two versions of a library's patch",
        "import numpy\nnumpy.__version__ = '2.4.1'\ndef subject(x):\n    return numpy.sin(x)\n",
        "import numpy\nnumpy.__version__ = '2.4.2+cpu'\ndef subject(x):\n    return numpy.sin(x)\n",
    ),
    stays(
        "what is excluded",
        "from paribus.identity import exclude\nCACHE = {}\ndef f(x): return CACHE[x]\nsubject = exclude(f, 'CACHE', reason='memo')\n",
        "from paribus.identity import exclude\nCACHE = {1: 2}\ndef f(x): return CACHE[x]\nsubject = exclude(f, 'CACHE', reason='a memo')\n",
    ),
    stays(
        "code under a declared version",
        "from paribus.identity import versioned\ndef f(x): return x\nsubject = versioned(f, version='1')\n",
        "from paribus.identity import versioned\ndef f(x): return -x\nsubject = versioned(f, version='1')\n",
    ),
    stays(
        "a cached property that was read",
        "from functools import cached_property\nclass C:\n    @cached_property\n    def p(self): return 1\nsubject = C()\n",
        "from functools import cached_property\nclass C:\n    @cached_property\n    def p(self): return 1\nsubject = C()\nsubject.p\n",
    ),
]
