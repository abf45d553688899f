"""OpenVINO, imported without its telemetry; import it from here and nowhere else.

`import openvino` alone was seen (2026.4) to make `~/intel/openvino_ga_cid` and `~/intel/stats`, to
start a process and to report to www.google-analytics.com, without asking. Where its package
`openvino_telemetry` is not installed it does none of that, so that is what it finds.
"""

import sys

_NAME = "openvino_telemetry"
_before = sys.modules.get(_NAME)
sys.modules[_NAME] = None  # type: ignore[assignment]  # this is how Python marks "not installed"
try:
    import openvino as ov
    from openvino import opset1, opset13
finally:
    del sys.modules[_NAME]
    if _before is not None:
        sys.modules[_NAME] = _before

__all__ = ["opset1", "opset13", "ov"]
