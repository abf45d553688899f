"""OpenVINO reports to nobody: its telemetry is never loaded."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def run(script: str, home: Path) -> str:
    home.mkdir()
    # Not in CI, where OpenVINO would keep quiet by itself.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_importing_it_starts_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    script = """
        import sys, threading
        import psutil
        from histo_index.encoder.runtime import openvino
        print("openvino_telemetry" in sys.modules, threading.active_count())
        print(len(psutil.Process().children()), openvino.ov.convert_model is not None)
    """
    assert run(script, tmp_path / "home") == "False 1\n0 True\n"
    assert list((tmp_path / "home").iterdir()) == []


def test_others_can_still_import_the_telemetry_themselves(tmp_path: Path) -> None:
    script = """
        import sys, types
        sys.modules["openvino_telemetry"] = theirs = types.ModuleType("openvino_telemetry")
        import histo_index.encoder.runtime.openvino_import
        print(sys.modules["openvino_telemetry"] is theirs)
    """
    assert run(script, tmp_path / "home") == "True\n"
