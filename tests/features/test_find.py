"""Files of features are found in folders; what is no file is not opened."""

import os
from pathlib import Path

import pytest

from histo_index.features.find import find_files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_rejected_and_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    os.mkfifo(tmp_path / "b.h5")
    for inputs in ([tmp_path], [tmp_path / "a.h5", tmp_path / "b.h5"]):
        found = find_files(inputs)
        assert found.files == (tmp_path / "a.h5",)
        assert [(entry.path, entry.reason) for entry in found.rejected] == [
            (f"{tmp_path}/b.h5", "not a regular file")
        ]
