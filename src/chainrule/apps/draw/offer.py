"""What is offered where there is no network: to train one now, or to open one."""

from __future__ import annotations

import subprocess
import sys
import threading
import tkinter as tk
from collections.abc import Callable
from pathlib import Path
from tkinter import ttk
from typing import Any

from .theme import BACK, INK, WARN

ASK = "There is no network here that reads digits."
FOLDER = Path("runs") / "digits"


def command(folder: Path) -> list[str]:
    """What trains a network in half a minute of one core, and puts it into a folder."""
    told = "train mnist --model lenet --epochs 2 --overwrite --verbose 2 --out".split()
    return [sys.executable, "-m", "chainrule", *told, str(folder)]


class Offer(tk.Frame):
    """A sentence and two buttons. ``deliver(f)`` has f called in the thread of the window; ``trained(path)`` is told of a
    network that came to be, ``choose()`` opens one. Training is a process of its own.
    """

    def __init__(
        self,
        parent: tk.Misc,
        deliver: Callable[[Callable[[], None]], None],
        trained: Callable[[Path], None],
        choose: Callable[[], Any],
        folder: Path = FOLDER,
    ) -> None:
        super().__init__(parent, background=BACK)
        self.deliver, self.trained, self.folder = deliver, trained, folder
        self.process: subprocess.Popen[str] | None = None
        self.says = tk.Label(self, background=BACK, foreground=INK, text=ASK, justify="left", anchor="w")
        self.training = ttk.Button(self, text="Train one now", command=self.train)
        self.opening = ttk.Button(self, text="Open one…", command=choose)
        for row, part in enumerate((self.says, self.training, self.opening)):
            part.grid(row=row, sticky="w", pady=(0, 6))
        self.columnconfigure(0, weight=1)
        self.bind("<Configure>", lambda event: self.says.configure(wraplength=max(60, event.width - 4)))

    def tell(self, text: str, *, warn: bool = False) -> None:
        """Say how it goes."""
        self.says.configure(text=text, foreground=WARN if warn else INK)

    def train(self) -> None:
        """Begin to train, or stop it."""
        if self.process is not None:
            self.stop()
            return
        self.process = subprocess.Popen(
            command(self.folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self.training.configure(text="Stop")
        self.tell(f"Training on MNIST, kept in {self.folder}.")
        threading.Thread(target=self.follow, args=(self.process,), name="training", daemon=True).start()

    def follow(self, process: subprocess.Popen[str]) -> None:
        """In a thread: tell each line that training prints, and how it ended."""
        last = ""
        with process:
            for line in process.stdout or ():
                if line.strip():
                    last = line.strip()
                    self.deliver(lambda text=last: self.tell(text))  # type: ignore[misc]
            code = process.wait()
        self.deliver(lambda: self.ended(process, code, last))

    def ended(self, process: subprocess.Popen[str], code: int, last: str) -> None:
        """Training has ended: with a network, or with why there is none."""
        if process is not self.process:  # it was stopped
            return
        self.process = None
        self.training.configure(text="Train one now")
        if code:
            self.tell(last or f"Training ended with code {code}.", warn=True)
        else:
            self.trained(self.folder / "model.safetensors")

    def stop(self) -> None:
        """End training, if it runs."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            self.training.configure(text="Train one now")
            self.tell("Training was stopped. " + ASK)
