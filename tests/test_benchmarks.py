"""The benchmarks: the functions that they measure exist."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def read_stages() -> Iterator[str]:
    """Yield `file:function` of every table named STAGES."""
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "STAGES":
                assert node.value is not None
                yield from ast.literal_eval(node.value).values()


@pytest.mark.parametrize("stage", list(read_stages()))
def test_a_profiled_stage_is_a_function_of_the_package(stage: str) -> None:
    file, function = stage.split(":")
    nodes: list[ast.stmt] = ast.parse((ROOT / "histo_index" / file).read_text("utf-8")).body
    for name in function.split("."):
        (found,) = [
            node
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        ]
        nodes = found.body
