"""Commands never import pandas, which takes half a second."""

import subprocess
import sys
from typing import Final

# pyarrow imports pandas where it first makes an array of one of NumPy.
PROGRAM: Final = """
import importlib.util, sys
from histo_index import cli

def command():
    import numpy, pyarrow
    pyarrow.array(numpy.arange(3)).to_numpy()

cli.app = command
cli.main()
print("pandas" in sys.modules, importlib.util.find_spec("pandas") is not None)
"""


def test_no_command_imports_pandas_and_nothing_hides_it_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False True\n"
