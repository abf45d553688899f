"""Import OpenVINO without its telemetry. No other module imports it.

`import openvino` (2026.4) creates `~/intel/openvino_ga_cid` and `~/intel/stats`, starts a process
and reports to www.google-analytics.com, unless the package `openvino_telemetry` is missing. So that
package is hidden during the import.
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
