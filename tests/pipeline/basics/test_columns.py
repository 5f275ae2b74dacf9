"""Tables as files."""

from pathlib import Path

import pandas as pd
import pytest

from fusionseg.pipeline.basics.columns import write_table
from fusionseg.pipeline.errors import UserError


def test_a_table_is_written_as_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "new" / "table.csv", pd.DataFrame({"name": ["a, b"], "count": [2]}))
    assert (tmp_path / "new" / "table.csv").read_text() == 'name,count\n"a, b",2\n'


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"table\.csv: can't be written"):
        write_table(tmp_path / "file" / "table.csv", pd.DataFrame())
