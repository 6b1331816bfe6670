"""Models of customers that leave, as their libraries save them, and rows to ask them about."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PLANS = ("basic", "family", "gold")


@dataclass(frozen=True)
class TableFiles:
    """A folder with ``xgboost.json``, ``LightGBM model.txt``, ``catboost.cbm``, ``rows.csv`` and ``rows.parquet``.

    Attributes:
        frame: the rows, with a column that no model reads.
        original: the LightGBM model's probability of leaving, float64 [rows].
    """

    folder: Path
    frame: pd.DataFrame
    original: Any


def customers(count: int = 300) -> tuple[pd.DataFrame, Any]:
    """Columns and label."""
    generator = np.random.Generator(np.random.PCG64(5))
    plan, monthly = generator.choice(PLANS, count), generator.normal(50, 10, count)
    months = generator.integers(0, 60, count).astype(np.float64)
    months[::17] = np.nan
    leaves = ((months < 20) & (plan == "basic")) | (monthly > 60)
    frame = pd.DataFrame({"monthly": monthly, "plan": pd.Categorical(plan, PLANS), "months": months})
    return frame, leaves.astype(np.int32)


def make_table_files(folder: Path) -> TableFiles:
    """Train and save. Takes a fraction of a second."""
    import catboost
    import lightgbm
    import xgboost

    frame, leaves = customers()
    boosted = xgboost.XGBClassifier(n_estimators=6, max_depth=3, n_jobs=1, enable_categorical=True)
    boosted.fit(frame, leaves).save_model(folder / "xgboost.json")
    light = lightgbm.LGBMClassifier(n_estimators=6, n_jobs=1, verbose=-1).fit(frame, leaves)
    light.booster_.save_model(folder / "LightGBM model.txt")
    numbers = frame.drop(columns="plan")
    oblivious = catboost.CatBoostClassifier(
        iterations=6, depth=3, thread_count=1, verbose=False, allow_writing_files=False
    )
    oblivious.fit(numbers, leaves).save_model(str(folder / "catboost.cbm"))
    rows = frame.assign(plan=frame["plan"].astype(str), customer=range(len(frame)))[:40]
    rows.to_parquet(folder / "rows.parquet")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows.columns)
        writer.writerows(rows.replace({np.nan: ""}).itertuples(index=False))
    original = np.asarray(light.predict_proba(frame[:40]), np.float64)[:, 1]
    return TableFiles(folder, rows, original)
