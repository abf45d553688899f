"""Commands do without pandas; what asks for it on purpose gets it."""

import subprocess
import sys

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
