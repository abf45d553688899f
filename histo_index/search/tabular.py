"""Results that are tables: Arrow, and pandas on request."""

from typing import Any, Protocol

import pyarrow as pa

from histo_index.errors import InputError


class _HasTable(Protocol):
    @property
    def table(self) -> pa.Table: ...


class Tabular:
    """A result that has its rows as an Arrow table in `table`."""

    def to_pandas(self: _HasTable) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ModuleNotFoundError as error:
            raise InputError(
                "to_pandas: pandas is not installed; install it, or use `.table` (Arrow)"
            ) from error
