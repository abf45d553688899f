"""Commands do without pandas; a process that waits for nothing ends."""

import subprocess
import sys
import threading

from histo_index.limits import STILL_STATUS, ending_if_still, watched

_CODE = """
import sys
from histo_index.limits import without_pandas
import numpy as np
with without_pandas():
    source = "import pyarrow as pa, numpy as np; pa.array(np.arange(3))"
    exec(compile(source, "asked", "exec"), {"__name__": "histo_index.asked"})
    print("pandas" in sys.modules)
    exec("import pandas", {"__name__": "encoder_of_a_user"})
    print("pandas" in sys.modules)
"""


def test_pyarrow_does_not_import_pandas_and_other_code_may() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CODE], capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")


def test_only_a_process_that_computes_nothing_for_the_whole_time_is_ended() -> None:
    # As read when the work begins and at each look: nine without progress, one with, ten without.
    readings = iter([0.0] * 10 + [1.0] + [1.0005] * 10)
    ended, statuses = threading.Event(), list[int]()

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    with ending_if_still(0.01, cpu_s=lambda: next(readings), end=end):
        ended.wait()
    assert (statuses, list(readings)) == ([STILL_STATUS], [])
    with ending_if_still(3600, cpu_s=lambda: 0.0, end=end):
        pass
    assert statuses == [STILL_STATUS]


def test_only_the_making_of_an_item_is_watched() -> None:
    counts = []
    for item in watched("ab", 3600):
        counts.append((item, threading.active_count()))
    assert counts == [("a", threading.active_count()), ("b", threading.active_count())]
