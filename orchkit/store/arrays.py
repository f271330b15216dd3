"""Values of numpy and pandas to JSON and back; a table goes through Parquet."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

from orchkit.store.notes import Packer, Path
from orchkit.store.tables import parquet_to_table, table_to_parquet
from orchkit.store.values import zone_key


def pack_array(packer: Packer, value: Any, path: Path) -> tuple[Any] | None:
    """The packed value in a one-tuple; None when it is not of numpy or pandas, or of no known kind."""
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        return _pack_numpy(packer, value, path)
    if module == "pandas":
        return _pack_pandas(packer, value, path)
    return None


def _pack_numpy(packer: Packer, value: Any, path: Path) -> tuple[Any] | None:
    import numpy as np

    if isinstance(value, np.generic):
        if value.dtype.kind in "biuU" or value.dtype.str[1:] in ("f2", "f4", "f8"):
            packer.note(path, "numpy", value.dtype.str)
            return (packer.pack(value.item(), path),)
        packer.note(path, "npy scalar", value.dtype.str)
        return (_npy(packer, np.asarray(value), path),)
    if type(value) not in (np.ndarray, np.memmap):
        return None  # a mask, say, would get lost
    shape = list(value.shape)
    if value.dtype.kind == "O":
        packer.note(path, "objects", shape)
        return ([packer.pack(item, (*path, place)) for place, item in enumerate(value.ravel().tolist())],)
    packer.note(path, "ndarray", {"dtype": value.dtype.str, "shape": shape})
    return (_npy(packer, value, path),)


def _npy(packer: Packer, array: Any, path: Path) -> str:
    import numpy as np

    file = io.BytesIO()
    try:
        np.lib.format.write_array(file, array, allow_pickle=False)
    except ValueError as error:
        raise packer.error(path, f"an array of {array.dtype}: {error}") from error
    return base64.b64encode(file.getvalue()).decode()


def _pack_pandas(packer: Packer, value: Any, path: Path) -> tuple[Any] | None:
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        packer.note(path, "pandas", str(value))
        return (None,)
    if isinstance(value, pd.Timestamp):
        packer.note(path, "timestamp", [value.unit, zone_key(value)])
        return (value.isoformat(),)
    if isinstance(value, pd.Timedelta):
        packer.note(path, "pandas timedelta", value.unit)
        return (int(value.to_numpy().astype("int64")),)
    if isinstance(value, pd.Interval):
        packer.note(path, "interval", value.closed)
        return ([packer.pack(value.left, (*path, 0)), packer.pack(value.right, (*path, 1))],)
    if isinstance(value, pd.Period):
        packer.note(path, "period", value.freqstr)
        return (str(value),)
    if type(value) is pd.Series:
        packer.note(path, "series")
        name = packer.pack(value.name, (*path, "name"))
        return ({**_pack_table(packer, value.to_frame(name=0), path), "name": name},)
    if type(value) is pd.DataFrame:
        packer.note(path, "dataframe")
        return (_pack_table(packer, value, path),)
    return None


def _pack_table(packer: Packer, frame: Any, path: Path) -> Any:
    data, note = table_to_parquet(frame)
    # The note holds labels and single values, which have types of their own.
    return {
        "parquet": base64.b64encode(data).decode(),
        **{key: packer.pack(item, (*path, key)) for key, item in note.items()},
    }


def _decode_numpy(value: Any, dtype: str) -> Any:
    import numpy as np

    return np.dtype(dtype).type(value)


def _decode_npy(value: str, _: Any) -> Any:
    import numpy as np

    return np.lib.format.read_array(io.BytesIO(base64.b64decode(value)), allow_pickle=False)


def _decode_objects(value: list[Any], shape: list[int]) -> Any:
    import numpy as np

    array = np.empty(len(value), dtype=object)
    for place, item in enumerate(value):
        array[place] = item
    return array.reshape(shape)


def _decode_pandas(_: None, name: str) -> Any:
    import pandas as pd

    return pd.NaT if name == "NaT" else pd.NA


def _decode_timestamp(value: str, argument: Any) -> Any:
    import pandas as pd

    unit, key = argument
    stamp = pd.Timestamp(value).as_unit(unit)
    return stamp if key is None else stamp.tz_convert(key)


def _decode_timedelta(value: int, unit: Any) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timedelta(np.timedelta64(value, unit))


def _decode_interval(value: list[Any], closed: Any) -> Any:
    import pandas as pd

    return pd.Interval(*value, closed=closed)


def _decode_period(value: str, freq: str) -> Any:
    import pandas as pd

    return pd.Period(value, freq=freq)


def _decode_frame(value: dict[str, Any], _: Any) -> Any:
    return parquet_to_table(base64.b64decode(value["parquet"]), value)


def _decode_series(value: dict[str, Any], _: Any) -> Any:
    return _decode_frame(value, None)[0].rename(value["name"])


DECODERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "numpy": _decode_numpy,
    "npy scalar": lambda v, _: _decode_npy(v, None)[()],
    "ndarray": _decode_npy,
    "objects": _decode_objects,
    "pandas": _decode_pandas,
    "timestamp": _decode_timestamp,
    "pandas timedelta": _decode_timedelta,
    "interval": _decode_interval,
    "period": _decode_period,
    "series": _decode_series,
    "dataframe": _decode_frame,
}
