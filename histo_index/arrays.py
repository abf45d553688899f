"""Names of array types, by the type of their numbers; shapes stand in docstrings."""

import numpy as np
import numpy.typing as npt

# uint8 [H, W, 3]: the pixels of an image.
Pixels = npt.NDArray[np.uint8]
Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# Any float type; functions that take it convert.
Floats = npt.NDArray[np.floating]
