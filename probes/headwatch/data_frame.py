"""Results as tables of pandas, which is an extra."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def data_frame(rows: Any, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """A table of rows, or of columns by name.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_dataframe needs pandas: pip install 'headwatch[dataframe]'") from error
    return pd.DataFrame(rows, columns=columns)


def data_frame_of_cells(
    coords: Mapping[str, Sequence[Any]], columns: Mapping[str, np.ndarray]
) -> "pd.DataFrame":
    """One row a cell: a column for each axis, with the places that it stands for, then what was found there.

    Args:
        coords: the places on each axis, in the order of the axes.
        columns: by name, `[*dims]` each.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    places = list(product(*coords.values()))
    axes = {dim: [place[axis] for place in places] for axis, dim in enumerate(coords)}
    return data_frame(axes | {name: values.ravel() for name, values in columns.items()})
