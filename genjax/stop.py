"""Stopping well: a signal asks the loop to save and end, and a process that cannot in time ends all the same."""

import os
import signal
import threading
import time
from typing import Any

GRACE = 8.0  # seconds from a signal to an exit, saved or not


class Stop:
    """SIGTERM and SIGINT ask the loop to save and end; where it cannot within `GRACE` seconds, the process ends all the same.

    Python runs a handler between its own instructions, not while a compiler or a long dispatch is at work. So a thread
    listens at the pipe into which the interpreter writes the signal's number at once.
    """

    def __init__(self) -> None:
        self.signal, self.at = 0, 0

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name

    def __enter__(self) -> "Stop":
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.old_pipe = signal.set_wakeup_fd(self.writer)
        self.old = {number: signal.signal(number, self.handle) for number in (signal.SIGTERM, signal.SIGINT)}
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def handle(self, number: int, frame: Any) -> None:
        del frame
        if self.signal:  # asked twice: at once
            os._exit(128 + number)
        self.signal = number

    def watch(self) -> None:
        if number := int.from_bytes(os.read(self.reader, 1), "big"):
            time.sleep(GRACE)
            line = f"stopped: {signal.Signals(number).name}; the steps after {self.at} took too long and are lost, "
            os.write(2, f"{line}the same command goes on from the newest checkpoint; a smaller --chunk stops sooner\n".encode())
            os._exit(128 + number)

    def __exit__(self, *error: Any) -> None:
        signal.set_wakeup_fd(self.old_pipe)
        for number, handler in self.old.items():
            signal.signal(number, handler)
        os.write(self.writer, b"\0")  # lets the thread go
