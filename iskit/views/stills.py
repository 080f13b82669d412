"""Plotly figures as still images, in a process of its own that imports little and may be ended: all by one browser."""

import json
import sys
from typing import TextIO

import plotly.io as pio

WIDTH, HEIGHT = 1000, 450  # pixels, of figures that do not say


def draw(told: TextIO) -> None:
    """Draws figures as PNG files. told: JSON, of the path of each image and its figure."""
    figures = {path: pio.from_json(json.dumps(one), skip_invalid=True) for path, one in json.load(told).items()}
    sizes = {  # Trap: unless told, it takes a size of its own and squeezes the figure into it.
        side: [figure.layout[side] or usual for figure in figures.values()]
        for side, usual in {"width": WIDTH, "height": HEIGHT}.items()
    }
    pio.write_images(list(figures.values()), list(figures), **sizes)


if __name__ == "__main__":
    draw(sys.stdin)
