"""Commands never import pandas, which takes half a second."""

import subprocess
import sys
from typing import Final

# pyarrow imports pandas where it first makes an array of one of NumPy.
PROGRAM: Final = """
import sys
from histo_index import cli

COMMAND = "import numpy, pyarrow; pyarrow.array(numpy.arange(3)).to_numpy()"
cli.app = lambda: exec(COMMAND, {"__name__": "histo_index.commands"})
cli.main()
print("pandas" in sys.modules)
"""


def test_no_command_imports_pandas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
