"""The table that the benchmarks print."""

from __future__ import annotations

import platform

import airflow


class Report:
    def __init__(self) -> None:
        print(f"Python {platform.python_version()}, Airflow {airflow.__version__}, {platform.machine()}\n")
        self._print("what", "measured", "ratio", "aim", "against")

    def row(self, what: str, measured: str, against: str, *, ratio: float | None = None, aim: float | str = "") -> None:
        shown = "" if ratio is None else f"{ratio:.3f}"
        self._print(what, measured, shown, f"{aim}", against)

    def _print(self, what: str, measured: str, ratio: str, aim: str, against: str) -> None:
        print(f"{what:<48} {measured:>14} {ratio:>7} {aim:>8}  {against}", flush=True)
