"""Commands never import pandas, which takes half a second."""

import importlib

import pytest

from histo_index import cli


def test_no_command_imports_pandas_and_other_programs_still_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def command() -> None:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("pandas")

    monkeypatch.setattr(cli, "app", command)
    cli.main()
    assert importlib.import_module("pandas").DataFrame
