"""A figure with the numbers that it shows."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure as Canvas

from paribus.errors import AnalysisError, suggest
from paribus.plotting.style import styled

_FORMATS = ("png", "pdf", "svg", "csv")


def file_name(*parts: str) -> str:
    """Join words to a file name that every system takes.

    >>> file_name("curves", "test/accuracy")
    'curves-test-accuracy'
    """
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-") for part in parts)


@dataclass(frozen=True, eq=False, repr=False)
class Figure:
    """A drawn figure, the data in it and the words under it.

    Attributes:
        figure: The matplotlib figure, yours to change before saving.
        table: What was drawn, tidy: one row per mark.
        caption: What the marks, bars and bands are, over how many runs.
        name: The file name without its ending, as `save` gives it in a folder.
    """

    figure: Canvas
    table: pl.DataFrame
    caption: str
    name: str = "figure"

    def save(self, path: Path | str, formats: Sequence[str] = _FORMATS) -> tuple[Path, ...]:
        """Write the figure, its data and its caption.

        Args:
            path: A folder (one that exists, or a text that ends in "/"), or a path whose last part is the
                name of the files without an ending.
            formats: Any of "png", "pdf", "svg" (with the caption in their metadata) and "csv" (the data).

        Returns:
            The files written: one for each format, in their order, and the caption as text.

        Raises:
            AnalysisError: If a format is unknown.
        """
        for form in formats:
            if form not in _FORMATS:
                raise AnalysisError(f"Figure.save: {form!r} is no format {suggest(form, _FORMATS)}")
        is_folder = Path(path).is_dir() or str(path).endswith("/")
        stem = Path(path) / self.name if is_folder else Path(path)
        stem.parent.mkdir(parents=True, exist_ok=True)
        files = [stem.with_name(f"{stem.name}.{form}") for form in (*formats, "txt")]
        for file in files:
            self._write(file)
        return tuple(files)

    def _write(self, file: Path) -> None:
        match file.suffix:
            case ".csv":
                self.table.write_csv(file)
            case ".txt":
                file.write_text(self.caption + "\n", encoding="utf-8")
            case suffix:
                quick: Any = {"pil_kwargs": {"compress_level": 1}} if suffix == ".png" else {}
                with styled():
                    self.figure.savefig(file, metadata=self._metadata(suffix), **quick)

    def _metadata(self, suffix: str) -> Mapping[str, str | None]:
        # No dates: the same figure gives the same bytes.
        if suffix == ".pdf":
            return {"Title": self.name, "Subject": self.caption, "CreationDate": None}
        return {"Title": self.name, "Description": self.caption} | (
            {"Date": None} if suffix == ".svg" else {}
        )

    def __repr__(self) -> str:
        return f"Figure({self.name!r}: {self.table.height} rows; {self.caption})"

    def _repr_html_(self) -> str:
        picture, caption = base64.b64encode(self._repr_png_()).decode(), html.escape(self.caption)
        return (
            f'<figure><img src="data:image/png;base64,{picture}" alt="{caption}" style="max-width:100%">'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def _repr_png_(self) -> bytes:
        page = io.BytesIO()
        with styled():
            self.figure.savefig(page, format="png", dpi=150)
        return page.getvalue()
