"""Arrays, DataFrames and other values of numpy and pandas through the codec."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.errors import CodecError
from orchkit.store import codec

Through = Callable[[Any], Any]

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([]),
    np.zeros((0, 3), dtype="i2"),
    np.array(5),
    np.array([1.5, np.nan, np.inf], dtype="f4"),
    np.array([True, False]),
    np.array(["a", "ä€"]),
    np.array([b"a", b"\xff"]),
    np.array(["2026-01-02", "NaT"], dtype="M8[ns]"),
    np.array([5, 7], dtype="m8[s]"),
    np.array([1 + 2j]),
    np.arange(3, dtype=">i4"),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array([1, "a", None, dt.date(2026, 1, 2), (1, 2)], dtype=object),
    np.array([[None, {"a": 1}]], dtype=object),
    np.longdouble([1.5]),
]
SCALARS = [
    np.int8(-5),
    np.uint64(2**64 - 1),
    np.float64(1.5),
    np.float32(0.1),
    np.float16(0.5),
    np.float64("inf"),
    np.bool_(True),
    np.str_("ä"),
    np.bytes_(b""),
    np.complex64(1 + 2j),
    np.datetime64("2026-01-02T03:04:05.123456789"),
    np.timedelta64(5, "D"),
    np.longdouble(1.5),
    pd.Timestamp("2026-01-02T03:04:05.123456789", tz="Europe/Berlin"),
    pd.Timestamp("2026-01-02").as_unit("s"),
    pd.Timedelta(5, "ns"),
    pd.Interval(pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-03"), closed="left"),
    pd.Period("2026-03", freq="M"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back(through: Through, array: np.ndarray) -> None:
    """Arrays of every dtype and shape come back with the same dtype, shape and items."""
    found = through({"a": [array]})["a"][0]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    found[...] = found  # writable, and nobody else's


@pytest.mark.parametrize("value", SCALARS)
def test_a_scalar_comes_back(through: Through, value: Any) -> None:
    """Scalars of numpy and pandas come back equal and of their type, with unit, time zone and nanoseconds."""
    found = through([value])[0]
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_missing_values_come_back(through: Through) -> None:
    """NaN of numpy, NaT and NA of pandas keep their identity."""
    nan, nat, na = through([np.float64("nan"), pd.NaT, pd.NA])
    assert (type(nan), np.isnan(nan), nat, na) == (np.float64, True, pd.NaT, pd.NA)


def test_numbers_of_numpy_are_numbers_for_sql() -> None:
    """The integers, floats and booleans of numpy are plain JSON."""
    assert codec.pack({"a": np.float64(1.5), "b": np.int8(3), "c": np.bool_(True)}).value == {
        "a": 1.5,
        "b": 3,
        "c": True,
    }


DAYS = pd.date_range("2026-03-28", periods=3, freq="D")
FRAMES = {
    "numbers": pd.DataFrame({"i": [1, 2, 3], "f": [0.5, np.nan, -0.0], "b": [True, False, True]}),
    "small": pd.DataFrame({"i": np.array([1], "i1"), "u": np.array([1], "u8"), "h": np.array([1], "f2")}),
    "texts": pd.DataFrame({"t": ["a", None, "ä\0€😀"]}),
    "string": pd.DataFrame({"t": pd.array(["a", None], dtype="string")}),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], "Int8"),
            "b": pd.array([True, None], "boolean"),
            "f": pd.array([1.5, None], "Float64"),
        }
    ),
    "categories": pd.DataFrame(
        {
            "c": pd.Categorical(["a", "b", None], categories=["never", "b", "a"], ordered=True),
            "n": pd.Categorical([1, 1, 2], categories=[3, 2, 1]),
            "cut": pd.cut(pd.Series([1, 5, 9]), [0, 5, 10]),
        }
    ),
    "times": pd.DataFrame(
        {
            "naive": DAYS.as_unit("ns") + pd.Timedelta(1, "ns"),
            "zone": DAYS.tz_localize("Europe/Berlin"),
            "seconds": DAYS.as_unit("s"),
            "delta": pd.to_timedelta([1, None, 3], unit="ns"),
            "missing": pd.to_datetime(["2026-01-01", None, None]),
        }
    ),
    "objects": pd.DataFrame(
        {"o": [1, "a", None, Decimal("1.10"), dt.date(2026, 1, 2), {"a": (1, 2)}]}, dtype=object
    ),
    "complex": pd.DataFrame({"z": [1 + 2j, 0j]}),
    "periods": pd.DataFrame({"p": pd.period_range("2026-01", periods=2, freq="M")}),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": np.array([], "i8"), "t": pd.Series([], dtype="str")}),
    "no columns": pd.DataFrame(index=range(3)),
    "named index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "unnamed index": pd.DataFrame({"a": [1, 2]}, index=[5, 3]),
    "named range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(2, name="n")),
    "days": pd.DataFrame({"a": [1, 2, 3]}, index=DAYS),
    "zoned index": pd.DataFrame({"a": [1, 2, 3]}, index=DAYS.tz_localize("Asia/Tokyo")),
    "category index": pd.DataFrame({"a": [1]}, index=pd.CategoricalIndex(["x"], categories=["x", "y"])),
    "two levels": pd.DataFrame(
        [[1], [2]], index=pd.MultiIndex.from_arrays([["x", "y"], [1, 2]], names=["k", None])
    ),
    "column levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", "y"])
    ),
    "column numbers": pd.DataFrame([[1, 2], [3, 4]]),
    "column times": pd.DataFrame([[1, 2, 3]], columns=DAYS.tz_localize("UTC")),
    "same names": pd.DataFrame([[1, "a"]], columns=["a", "a"]),
    "names by case": pd.DataFrame([[1, 2]], columns=["a", "A"]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back(through: Through, name: str) -> None:
    """A DataFrame comes back with its values, dtypes, categories, zones, index and labels, unchanged."""
    frame = FRAMES[name]
    before = frame.copy(deep=True)
    pd.testing.assert_frame_equal(through({"table": frame})["table"], before)
    pd.testing.assert_frame_equal(frame, before)


COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "str": st.text(max_size=5) | st.none(),
    "Int16": st.integers(-(2**15), 2**15 - 1) | st.none(),
    "datetime64[ns, America/St_Johns]": st.integers(-(2**62), 2**62),
    "timedelta64[us]": st.integers(-(2**50), 2**50),
    "category": st.sampled_from("abc") | st.none(),
    "object": st.integers() | st.text(max_size=3) | st.none() | st.dates(),
}


@given(st.data())
@settings(max_examples=40)
def test_any_frame_comes_back(through: Through, data: st.DataObject) -> None:
    """Whatever is in the columns, the frame that comes back is the same."""
    size = data.draw(st.integers(0, 5))
    kinds = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4))
    columns = [
        pd.Series(data.draw(st.lists(COLUMNS[k], min_size=size, max_size=size)), dtype=k) for k in kinds
    ]
    frame = pd.concat(columns, axis=1, keys=[f"c{place}" for place in range(len(columns))])
    pd.testing.assert_frame_equal(through(frame), frame)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2], name="n"),
        pd.Series(["a", None], index=["x", "y"]),
        pd.Series([], dtype="float64", name=("a", 1)),
        pd.Series(pd.Categorical(["a"], categories=["b", "a"])),
    ],
)
def test_a_series_comes_back(through: Through, series: pd.Series) -> None:
    """A Series comes back with dtype, index and name."""
    pd.testing.assert_series_equal(through(series), series)


def test_a_table_of_models_inside_a_record(through: Through) -> None:
    """Labels and cells are packed like any value: what is inside a cell keeps its type."""
    frame = pd.DataFrame({("a", dt.date(2026, 1, 2)): [{"deep": (1, Decimal(2))}]})
    assert through(frame).iloc[0, 0] == {"deep": (1, Decimal(2))}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"a": np.ma.masked_array([1], mask=[True])}, r"output\.a .*MaskedArray"),
        ([np.array([lambda: 0])], r"output\[0\]\[0\] .*function"),
        (pd.DataFrame({"ok": [1], "bad": [object()]}), r"output\.columns\[1\]\.values\[0\] .*object"),
        (pd.DataFrame({"bad": pd.arrays.SparseArray([0, 1])}), r"column 'bad' is of dtype Sparse"),
        (pd.Index([1]), r"output .*Index"),
    ],
    ids=["mask", "functions", "cell", "dtype", "index"],
)
def test_what_would_get_lost_is_refused(value: Any, match: str) -> None:
    """What cannot come back as it was is an error that names the place."""
    with pytest.raises(CodecError, match=match):
        codec.pack(value, "output")


def test_texts_that_cannot_be_encoded(through: Through) -> None:
    """A text column with lone surrogates (file names) comes back as an object column with the same texts."""
    frame = pd.DataFrame({"f": pd.array(["\udce9", "b", None], dtype=pd.StringDtype("python"))})
    assert through(frame)["f"].tolist() == ["\udce9", "b", None]


def test_no_pickle_is_read() -> None:
    """An array whose record was forged to hold a pickle is not read."""
    forged = pickle.dumps(np.array([1]))
    with pytest.raises(CodecError, match="does not fit"):
        codec.unpack(codec.pack(forged).value, [[[], "ndarray", {"dtype": "<i8", "shape": [1]}]])
