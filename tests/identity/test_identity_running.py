"""Code as it runs: notebooks, edited files, other Pythons, audits; each in a process of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from script_cases import run_fresh

SOURCE = Path(__file__).parents[2] / "src"


SHELL = """
    import json, warnings
    warnings.simplefilter("error", category=UserWarning)
    from IPython.core.interactiveshell import InteractiveShell
    from paribus.identity import digest
    shell = InteractiveShell.instance()
    def cell(text):
        shell.run_cell(text, store_history=True).raise_error()
    def key(name):
        return digest(shell.user_ns[name]).hex()
    told = {}
    helper = "def helper(x):\\n    return x * 2"
    cell(helper)
    cell("def caller(x):\\n    return helper(x) + 1")
    told["first"] = key("caller")
    cell(helper)
    told["helper run again"] = key("caller")
    cell("# a comment\\n\\ndef helper(x):\\n    'doc'\\n    return (x * 2)")
    told["helper with a comment"] = key("caller")
    cell("def caller(x):\\n    return helper(x) + 1")
    told["caller run again"] = key("caller")
    cell("def helper(x):\\n    return x * 3")
    told["helper redefined"] = key("caller")
    cell("import json as jay\\n\\ndef beside(x):\\n    return jay.dumps(x)")
    told["import and use in one cell"] = key("beside")
    cell("import json as jay")
    cell("def beside(x):\\n    return jay.dumps(x)")
    told["in two cells"] = key("beside")
    cell("%time f = [lambda x: x + 1, lambda x: x + 2]\\ng, h = f")
    told["g"], told["h"] = key("g"), key("h")
    net = '''
    class Net:
        rate = 1
        def __init__(self):
            super(Net, self).__init__()
        def forward(self, x):
            return Net().rate * x
    '''
    cell(net); cell("made = Net()")
    told["net"], told["made"] = key("Net"), key("made")
    cell(net)
    told["net run again"], told["made of the cell before"] = key("Net"), key("made")
    cell(net.replace("rate = 1", "rate = 2"))
    told["net changed"] = key("Net")
    print(json.dumps(told))
"""


def test_cells_of_a_notebook(tmp_path):
    told = json.loads(run_fresh(SHELL, tmp_path, IPYTHONDIR=str(tmp_path)))
    again = ("helper run again", "helper with a comment", "caller run again")
    assert {told[name] for name in again} == {told["first"]}
    assert told["helper redefined"] != told["first"]
    assert told["import and use in one cell"] == told["in two cells"]
    assert told["g"] != told["h"]
    assert told["net run again"] == told["net"] != told["net changed"]
    assert told["made of the cell before"] == told["made"]


EDITED = """
    import json, warnings
    from pathlib import Path
    from paribus.identity import digest, EditedSourceWarning
    text = "def f(x):\\n    return x * 2  # two\\n\\n\\ndef g(x):\\n    return x\\n"
    Path("tool.py").write_text(text)
    import tool
    told = {}
    if PLAN != "edited unseen":
        told["before"] = digest(tool.f).hex()
    if PLAN != "untouched":
        Path("tool.py").write_text("import os\\n\\n" + text.replace("x * 2", "x * 33"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told["f"], told["g"] = digest(tool.f).hex(), digest(tool.g).hex()
    told["warned"] = [str(item.message) for item in caught if item.category is EditedSourceWarning]
    print(json.dumps(told))
"""


def test_a_file_edited_after_import_keeps_its_key_and_warns(tmp_path):
    told = {}
    for plan in ("untouched", "edited", "edited unseen"):
        (tmp_path / plan).mkdir()
        told[plan] = json.loads(run_fresh(f"PLAN = {plan!r}\n{dedent(EDITED)}", tmp_path / plan))
    assert len({item["f"] for item in told.values()}) == 1
    assert len({item["g"] for item in told.values()}) == 1
    assert told["untouched"]["warned"] == []
    for plan in ("edited", "edited unseen"):
        assert len(told[plan]["warned"]) == 1
        assert "tool.py was edited after its import" in told[plan]["warned"][0]


SCRIPT = """
    def helper(x):
        return x * 2
    class Net:
        def forward(self, x):
            return helper(x) + sum(y for y in range(3))
    def main():
        from paribus.identity import digest
        print(digest(Net).hex())
    if __name__ == "__main__":
        main()
"""


def test_a_script_and_an_imported_module_are_the_same(tmp_path):
    as_script = run_fresh(SCRIPT, tmp_path)
    elsewhere = tmp_path / "cloned" / "deeply"
    elsewhere.mkdir(parents=True)
    (elsewhere / "net.py").write_text(dedent(SCRIPT))
    assert run_fresh("import net\nnet.main()\n", elsewhere) == as_script
    assert run_fresh("import net\nnet.main()\n", elsewhere, "-OO", PYTHONHASHSEED="77") == as_script


STAND_IN = """
    import hashlib
    VERSION = "stand-in: the same hash under each Python, whatever is installed"
    def xxh3_128_digest(data): return hashlib.blake2b(bytes(data), digest_size=16).digest()
    def xxh3_64_intdigest(data): return 0
    class xxh3_128:
        def __init__(self): self.whole = b""
        def update(self, data): self.whole += bytes(data)
        def digest(self): return xxh3_128_digest(self.whole)
"""


def pythons() -> list[str]:
    """Find the other Pythons of this machine that Paribus runs on."""
    found = {}
    for version in ("3.11", "3.12", "3.13"):
        homes = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        python = next((str(home) for home in homes), None) or shutil.which(f"python{version}")
        if python:
            found[version] = python
    return list(found.values())


def test_keys_are_equal_under_every_python(tmp_path):
    from identity_cases import PLAIN

    if len(pythons()) < 2:
        pytest.skip("this machine has one Python only")
    (tmp_path / "xxhash.py").write_text(dedent(STAND_IN))
    package = tmp_path / "paribus"
    package.mkdir()
    (package / "__init__.py").write_text(f"__path__ = [{str(SOURCE / 'paribus')!r}]\n")
    projects = {}
    for case in PLAIN:
        if "numpy" not in str(case.before) and "exec" not in case.name:
            projects[case.name] = case.before
    (tmp_path / "projects.json").write_text(json.dumps(projects))
    text = """
        import json, sys
        from pathlib import Path
        sys.path.insert(0, ".")
        from paribus.identity import digest
        told = {}
        for place, (name, files) in enumerate(json.loads(Path("projects.json").read_text()).items()):
            folder = Path(f"{sys.version_info.minor}-{place}").absolute()
            for file, content in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(content)
            before = set(sys.modules)
            sys.path.insert(0, str(folder))
            told[name] = digest(__import__("main").subject).hex()
            sys.path.pop(0)
            for module in set(sys.modules) - before:
                if str(folder) in str(getattr(sys.modules[module], "__file__", "")):
                    del sys.modules[module]
        print(json.dumps(told))
    """
    told = [json.loads(run_fresh(text, tmp_path, "-S", python=python)) for python in pythons()]
    for other in told[1:]:
        assert {name for name in told[0] if told[0][name] != other[name]} == set()


AUDIT = """
    import helpers as h
    from paribus.identity import depends_on, fingerprint
    from paribus.identity.audit import calls_made, outside
    def hidden(x):
        return getattr(h, "hel" + "per")(x) + seen(x)
    def seen(x):
        return x
    ran = calls_made(lambda: None) | calls_made(RUN := (lambda: hidden(3)))
    ran = {code for code in ran if code.co_name != "<lambda>"}
    told = [outside(ran, [fingerprint(hidden)])]
    depends_on(hidden, h.helper)
    told.append(outside(ran, [fingerprint(hidden)]))
    import json
    print(json.dumps(told))
"""


def test_an_audit_finds_what_slips_past_reading(tmp_path):
    (tmp_path / "helpers.py").write_text("def helper(x):\n    return x + 1\n")
    assert json.loads(run_fresh(AUDIT, tmp_path)) == [["helper (helpers.py:1)"], []]


def test_identity_is_imported_without_torch_and_numpy(tmp_path):
    text = """
        import sys
        import paribus.identity
        print([name for name in ("torch", "numpy", "polars") if name in sys.modules])
    """
    assert run_fresh(text, tmp_path) == "[]"


def test_hash_seed_and_process_do_not_matter(tmp_path):
    text = """
        import numpy as np
        from paribus.identity import digest
        value = {"a": {1, 2, "three", (4.5, None)}, "b": frozenset("xyz"), "c": float("nan")}
        print(digest(value).hex(), digest([int, np.arange(3)]).hex())
    """
    assert run_fresh(text, tmp_path, PYTHONHASHSEED="1") == run_fresh(text, tmp_path, PYTHONHASHSEED="2")
