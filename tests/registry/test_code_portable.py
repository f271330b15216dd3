"""The code of a method is the same in every process and every Python: the hashes that are on record stay."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from orchkit.registry import code_of

PORTABLE = '''
import functools


def shout(times):
    def wrap(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return function(*args, **kwargs) * times

        return inner

    return wrap


def plain(a: int, b: float = 2.5, *, c: tuple = (1, "x", None)) -> int:
    """It adds."""
    return a + b + 1_000_000_007


@shout(3)
async def hello(name, /, *names, **rest):
    with open(name) as file, open(file.name) as other:
        text = f"{name!r:>{len(names)}} {rest['a']:{'<'}{10}} {{}}" "{}" f"{other}" r"\\x"
        text += rb"\\x00".decode()
    try:
        return [x async for x in text if x not in {"a", "b"} or not x], *names
    except* (KeyError, ValueError) as errors:
        raise RuntimeError(text := "\\u00e9\\t") from errors
    finally:
        del text


class Shop:
    rate: int = 2

    def price(self, cents):
        match cents:
            case {"a": [1, *_], **rest} | (rest, -1.5e300):
                return super().price(rest)
            case Shop(rate=x) if x:
                return lambda y=x: y @ -x ** 2j


def closure(value):
    def work(x):
        return x * value

    return work


closed = closure({"rates": [1, 2.0, True], "names": ("a",)})
fixed = functools.partial(plain, b=0.1)
short = [lambda x: x, lambda x, y=1: x if y else ...][1]
'''
# Another hash in any of these makes every recorded one look like an edit: then the scheme needs a new number.
EXPECTED = {
    "plain": "a119fab6ef63de455e79b3e10e7ae0458ffbc6cd54cc5620cec40f2ded9a838f",
    "hello": "90e5ca37de9c591ee853ec51870591acdae57281830838c35c1af59f1e48bc4b",
    "Shop": "d45e7456ff35f8080bf502f6c4ae336c70e6068a35323dc2db08754464feae0b",
    "price": "4c646283c24514634d1552c9680489f0eef5e069c320812803bdd9876ca6eba4",
    "closed": "93147f140a3313ac97cca1a7d19ee25db4020e0e9ad28c380d74192b1919c827",
    "fixed": "3dd35d34bdc76163e37b723e6a4b70837223765f148945ed5ec03cc466aa0833",
    "short": "a2553559f351ecb3e5b420b706507607bf4b8e3d971f905649802aa946f76293",
}


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of `PORTABLE`."""
    folder = tmp_path_factory.mktemp("portable")
    (folder / "portable_steps.py").write_text(PORTABLE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module("portable_steps")


@pytest.mark.parametrize("name", EXPECTED)
def test_the_hash_is_the_one_that_older_records_have(portable: ModuleType, name: str) -> None:
    """Fixed values, which every supported Python must give."""
    function = portable.Shop().price if name == "price" else getattr(portable, name)
    assert code_of(function).hash == EXPECTED[name]


SPAWNING = """
import multiprocessing

from orchkit.registry import code_of

def helper(x): return x
def make(value):
    def work(x): return value
    return work
class Shop:
    def price(self, cents): return cents

def hashes(queue):
    queue.put([code_of(each).hash for each in (make(helper), make({"a": (Shop,)}), Shop().price, Shop)])

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.SimpleQueue(), context.SimpleQueue()
    hashes(mine)
    child = context.Process(target=hashes, args=(theirs,))
    child.start()
    child.join(60)
    assert mine.get() == theirs.get()
"""


def test_a_spawned_process_sees_the_script_of_its_parent(tmp_path: Path) -> None:
    """There the functions of the script belong to another module, and have the same code all the same."""
    script = tmp_path / "script.py"
    script.write_text(SPAWNING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["lambda x: x in {'a', 'b', 'c', 'd'}", "lambda x, y={'a', 'b', 'c'}: y"])
def test_without_source_it_is_still_the_same_in_every_process(text: str) -> None:
    """The order of sets, in compiled code and in defaults, is another in every process and does not count."""
    script = f"from orchkit.registry import code_of; print(code_of(eval({text!r})).hash)"
    found = set()
    for seed in "123":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=180)
        found.add(done.stdout)
    assert len(found) == 1
