"""Work that ends its process, or never ends; a module that imports little, for its process."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from histo_index.errors import ImageError


class Deadly:
    """Ends the process at a slide tile; any other path is an error."""

    def answers(self, requests: Sequence[Path]) -> Iterator[Any]:
        for path in requests:
            if "#" in str(path):
                os.kill(os.getpid(), signal.SIGKILL)
            yield ImageError(f"{path.name}: a file")


class Hanging:
    """Waits at a slide called `hang.svs`, as for a share that is gone; any other is an error."""

    def answers(self, requests: Sequence[Path]) -> Iterator[Any]:
        for path in requests:
            while path.name == "hang.svs":
                time.sleep(3600)
            yield ImageError(f"{path.name}: read")
