"""DataFrames to Parquet bytes and back, written by DuckDB, so that no Arrow package is needed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchkit.errors import CodecError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Part = dict[str, Any]
"""How a column was stored: its ``dtype``, and ``values`` or ``categories`` that are not in the file."""

NULLABLE = frozenset(
    {"boolean", "Float32", "Float64"} | {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)


def table_to_parquet(frame: pd.DataFrame) -> tuple[bytes, dict[str, Any]]:
    """Parquet bytes of the columns and the index, and all that Parquet does not know of them.

    What is in the note (labels, categories, the values of ``object`` columns) is still to be packed.
    Raises `CodecError` for a column whose dtype cannot be stored.
    """
    columns = [(label, frame.iloc[:, place]) for place, label in enumerate(frame.columns)]
    levels = [] if _is_default(frame.index) else _levels(frame.index)
    arrays: dict[str, Any] = {}
    parts = []
    for place, (label, series) in enumerate((*columns, *levels)):
        array, part = _take_apart(series, label)
        parts.append(part)
        if array is not None:
            arrays[f"c{place}"] = array
    note = {
        "rows": len(frame),
        "labels": frame.columns.tolist(),
        "label_dtype": None if frame.columns.nlevels > 1 else str(frame.columns.dtype),
        "label_names": list(frame.columns.names),
        "label_freq": getattr(frame.columns, "freqstr", None),
        "columns": parts[: len(columns)],
        "index": parts[len(columns) :],
        "index_names": list(frame.index.names),
        "index_freq": getattr(frame.index, "freqstr", None),
    }
    return _write(arrays), note


def _is_default(index: pd.Index) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.name is None and index.equals(pd.RangeIndex(len(index)))


def _levels(index: pd.Index) -> list[tuple[Any, pd.Series]]:
    import pandas as pd

    values = [index.get_level_values(level) for level in range(index.nlevels)]
    return [(name, pd.Series(level)) for name, level in zip(index.names, values, strict=True)]


def _take_apart(series: pd.Series, label: Any) -> tuple[np.ndarray | None, Part]:
    """What goes into the file, if anything, and what has to be known beside it."""
    import pandas as pd

    dtype, name = series.dtype, str(series.dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        kept = {"categories": dtype.categories.tolist(), "of": str(dtype.categories.dtype)}
        return series.cat.codes.to_numpy(), {"dtype": "category", "ordered": bool(dtype.ordered), **kept}
    if isinstance(dtype, pd.StringDtype):
        texts = series.astype(object).where(series.notna(), None).to_numpy()
        if not _encodable(texts):  # pandas itself holds such texts only in some of its string arrays
            return None, {"dtype": "object", "values": texts.tolist()}
        return texts, {"dtype": name}
    if name in NULLABLE:
        return _masked(series), {"dtype": name}
    if isinstance(dtype, pd.DatetimeTZDtype):
        return series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().view("int64"), {"dtype": name}
    plain = not pd.api.types.is_extension_array_dtype(dtype)
    if plain and dtype.kind in "mM":
        return series.to_numpy().view("int64"), {"dtype": name}
    if plain and dtype.kind in "biuf" and name not in ("float16", "float128"):
        return series.to_numpy(), {"dtype": name}
    if not plain and not isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        raise CodecError("DataFrame", f"column {label!r} is of dtype {name}; make it another one with astype")
    return None, {"dtype": name, "values": series.tolist()}


def _encodable(texts: Any) -> bool:
    try:
        "".join(filter(None, texts)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _masked(series: pd.Series) -> np.ndarray:
    import numpy as np

    plain = str(series.dtype).lower().replace("boolean", "bool")
    mask = series.isna().to_numpy()
    return np.ma.masked_array(series.to_numpy(dtype=plain, na_value=0), mask=mask)


def _write(arrays: dict[str, Any]) -> bytes:
    import duckdb

    if not arrays:
        return b""
    with tempfile.TemporaryDirectory(prefix="orchkit-") as folder, duckdb.connect() as connection:
        path = Path(folder) / "table.parquet"
        connection.register("arrays", arrays)
        connection.table("arrays").write_parquet(str(path))
        return path.read_bytes()


def _read(data: bytes) -> dict[str, Any]:
    import duckdb

    if not data:
        return {}
    with tempfile.TemporaryDirectory(prefix="orchkit-") as folder, duckdb.connect() as connection:
        path = Path(folder) / "table.parquet"
        path.write_bytes(data)
        return dict(connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy())


def parquet_to_table(data: bytes, note: dict[str, Any]) -> pd.DataFrame:
    """The DataFrame that `table_to_parquet` was given, with its dtypes, labels and index."""
    import pandas as pd

    arrays = _read(data)
    width = len(note["columns"])
    series = [
        _put_together(part, arrays.get(f"c{place}"))
        for place, part in enumerate(note["columns"] + note["index"])
    ]
    frame = pd.DataFrame(dict(enumerate(series[:width])), index=pd.RangeIndex(note["rows"]))
    frame.columns = _labels(note)
    if note["index"]:
        frame.index = _index(series[width:], note)
    return frame


def _labels(note: dict[str, Any]) -> pd.Index:
    import pandas as pd

    if note["label_dtype"] is None:
        return pd.MultiIndex.from_tuples(note["labels"], names=note["label_names"])
    labels = pd.Index(note["labels"], dtype=note["label_dtype"], name=note["label_names"][0])
    return _with_freq(labels, note["label_freq"])


def _index(levels: list[pd.Series], note: dict[str, Any]) -> pd.Index:
    import pandas as pd

    if len(levels) > 1:
        return pd.MultiIndex.from_arrays(levels, names=note["index_names"])
    return _with_freq(pd.Index(levels[0], name=note["index_names"][0]), note["index_freq"])


def _with_freq(index: pd.Index, freq: str | None) -> pd.Index:
    import pandas as pd

    if freq is not None and isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        index.freq = freq
    return index


def _put_together(part: Part, array: Any) -> pd.Series:
    import numpy as np
    import pandas as pd

    dtype = part["dtype"]
    if array is None:
        return pd.Series(part["values"], dtype=dtype)
    if dtype == "category":
        categories = pd.Index(part["categories"], dtype=part["of"])
        return pd.Series(pd.Categorical.from_codes(array, categories, ordered=part["ordered"]))
    mask = np.ma.getmaskarray(array)
    if array.dtype.kind == "O":
        texts = np.ma.getdata(array).copy()
        texts[mask] = None
        return pd.Series(texts, dtype=dtype)
    if dtype in NULLABLE:
        return pd.Series(np.ma.filled(array, 0)).astype(dtype).mask(mask)
    # DuckDB takes NaN for NULL; nothing else is masked here.
    return pd.Series(np.ma.filled(array, np.nan) if mask.any() else np.ma.getdata(array)).astype(dtype)
