"""A plan follows from rates and sizes, and says where one machine ends."""

import json
import math

import pytest
from typer.testing import CliRunner

from histo_index.api.cluster.plan import plan
from histo_index.api.encoders import open_encoder
from histo_index.cli import app
from histo_index.cluster.planning.plan import Plan
from histo_index.errors import InputError

SIZE = open_encoder().embedding_size
BILLION = {"tiles_per_second": 3000.0, "workers": 8, "hour_price": 3.0}


def amounts(made: Plan) -> dict[str, float]:
    return {item.name: item.value for item in reversed(made.items)}


def test_a_billion_tiles_by_hand() -> None:
    made = plan(1e9, **BILLION)  # type: ignore[arg-type]
    found = amounts(made)
    assert found["encoding"] == pytest.approx(1e9 / 3000)
    assert found["cost of encoding"] == pytest.approx(1e9 / 3000 / 3600 * 3)
    # float16, and 100 bytes beside them.
    assert found["shards"] == 1e9 * (2 * SIZE + 100)
    assert found["vectors"] == 1e9 * 2 * SIZE
    assert found["images"] == 30e12
    # 64 one-byte codes and a row number each, and 131,072 centres.
    assert found["memory to search"] == pytest.approx(72e9, rel=0.001)
    # 30 % is left free; 64 GB hold 44.8 GB of the vectors.
    assert found["machine to search"] == pytest.approx(72e9 / 0.7, rel=0.001)
    assert found["or exactly, in parts"] == math.ceil(1e9 * 2 * SIZE / 44.8e9)
    assert (made.structure, made.shard_rows) == ("PCA64,IVF131072,SQ8", 65_536)
    assert found["lost with a worker"] == pytest.approx(65_536 / 3000)
    assert [line.split(";")[0][:40] for line in made.advice] == [
        "The ANN index does not fit a machine of ",
        "Pass --shard-rows 65536 to `build`, or t",
    ]


def test_one_machine_is_enough_for_few_tiles() -> None:
    made = plan(20_000, tiles_per_second=20)
    assert made.advice == ("One worker on one machine is enough.",)
    assert made.structure == "exact"
    assert amounts(made)["memory to search"] == 20_000 * 2 * SIZE


def test_a_slow_worker_needs_others() -> None:
    (advice,) = plan(15e6, tiles_per_second=20).advice
    assert advice.startswith("One worker would encode for more than a week; 2 workers take a week:")


def test_a_measured_rate_is_marked() -> None:
    made = plan(1000)
    assert (made.items[0].name, made.items[0].origin) == ("rate of a worker", "measured")
    assert made.items[0].value > 0
    assert plan(1000, tiles_per_second=7).items[0].origin == "given"


def test_the_command_prints_lines_and_json() -> None:
    words = ["plan", "--tiles", "1e9", "--rate", "3000", "--workers", "8"]
    shown = CliRunner().invoke(app, words).stdout
    assert "by 8 workers, at full efficiency" in shown
    assert "11 h 34 min" in shown
    assert "of 103 GB, or search exactly in parts on" in shown
    assert "searched by: PCA64,IVF131072,SQ8" in shown
    body = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert body["shard_rows"] == 65_536
    assert body["items"][0] == {
        "name": "rate of a worker", "value": 3000.0, "unit": "tiles/s", "origin": "given",
        "note": "decoding included",
    }  # fmt: skip


def test_amounts_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="--tiles 0: expected 1 or more"):
        plan(0)
    for name, value in (
        ("tiles_per_second", 0.0), ("machine_bytes", float("inf")), ("tile_bytes", -1.0),
        ("hour_price", float("nan")),
    ):  # fmt: skip
        options = {"tiles_per_second": 7.0, name: value}
        with pytest.raises(InputError) as caught:
            plan(10, **options)  # type: ignore[arg-type]
        said = f"{name.replace('_', ' ')}: {value:g}, expected a number above 0"
        assert str(caught.value) == said
