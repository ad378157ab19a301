"""What goes on in the network: the maps of its first convolution, and the pixels that its answer hangs on."""

from __future__ import annotations

import tkinter as tk
from typing import Any, NamedTuple

from ..insight import FeatureMaps
from .pixels import enlarged, heated, tiles
from .theme import BACK, FAINT, INK, photo, unit_of

MOST = 64  # maps that are shown
PAPER = int(BACK[1:3], 16)


class Views(NamedTuple):
    """What is shown: arrays, or why there are none."""

    maps: FeatureMaps | str | None = None
    saliency: Any = None


class ViewsPanel(tk.Frame):
    """Two pictures with their titles, one over the other, each as large as the room allows; either can be left out."""

    def __init__(self, parent: tk.Misc) -> None:
        super().__init__(parent, background=BACK)
        self.unit = unit_of(self)
        self.views = Views()
        self.image: Any = None  # that they are of
        self.photos: dict[str, Any] = {}  # that Tk shows
        self.titles, self.pictures = {}, {}
        self.columnconfigure(0, weight=1)
        for row, name in enumerate(("saliency", "maps")):
            self.titles[name] = tk.Label(self, background=BACK, foreground=INK, anchor="w", justify="left")
            self.pictures[name] = tk.Canvas(self, background=BACK, highlightthickness=0, width=1, height=1)
            self.pictures[name].bind("<Configure>", lambda _, name=name: self.paint(name))  # type: ignore[misc]
            self.titles[name].grid(row=2 * row, sticky="ew")
            self.pictures[name].grid(row=2 * row + 1, sticky="nsew", pady=(0, 6))
        self.bind("<Configure>", lambda event: self.wrap(event.width))
        self.choose(maps=False, saliency=False)

    def choose(self, *, maps: bool, saliency: bool) -> None:
        """Which of the two are there."""
        for row, (name, wanted) in enumerate((("saliency", saliency), ("maps", maps))):
            for part in (self.titles[name], self.pictures[name]):
                part.grid() if wanted else part.grid_remove()
            self.rowconfigure(2 * row + 1, weight=1 if wanted else 0, uniform="views" if wanted else "")

    def wrap(self, width: int) -> None:
        """Break titles where the panel ends."""
        for title in self.titles.values():
            title.configure(wraplength=max(60, width - 4))

    def show(self, views: Views, image: Any) -> None:
        """Show what was found for a picture (28, 28), or with None that nothing is there."""
        self.views, self.image = views, image
        maps = views.maps
        if isinstance(maps, FeatureMaps):
            count = len(maps.maps)
            shown = f"{count} maps" if count <= MOST else f"{MOST} of {count} maps"
            self.titles["maps"].configure(text=f"{shown} after {maps.layer}", foreground=INK)
        else:
            told = maps if isinstance(maps, str) else "Feature maps: draw a digit."
            self.titles["maps"].configure(text=told, foreground=FAINT)
        there = views.saliency is not None
        text = "What moves the score: |∂ score / ∂ pixel|" if there else "Saliency: draw a digit."
        self.titles["saliency"].configure(text=text, foreground=INK if there else FAINT)
        for name in self.pictures:
            self.paint(name)

    def paint(self, name: str) -> None:
        """Draw one of the two, at the size that it has."""
        canvas = self.pictures[name]
        canvas.delete("all")
        width, height = canvas.winfo_width(), canvas.winfo_height()
        pixels: Any = None
        if name == "maps" and isinstance(self.views.maps, FeatureMaps):
            pixels = tiles(self.views.maps.maps[:MOST], height, width, gap=max(1, round(2 * self.unit)), paper=PAPER)
        elif name == "saliency" and self.views.saliency is not None:
            side = min(width, height)
            if side >= len(self.image):
                pixels = enlarged(heated(self.image, self.views.saliency), side, side)
        if pixels is not None:
            self.photos[name] = photo(pixels)
            canvas.create_image(0, 0, image=self.photos[name], anchor="nw")
