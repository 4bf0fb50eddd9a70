"""A program on a terminal: what it shows there, and what is typed."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Terminal:
    """Runs `command` on a terminal of the given size. Used with `with`; `screen` is all that was shown so far."""

    def __init__(self, command, environment, columns=100, rows=40, term="xterm"):
        self.screen = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvpe(str(command[0]), [str(word) for word in command], {**environment, "TERM": term})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read(self, seconds):
        """Takes what is shown within this time; False once the program has closed its terminal."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, text, seconds=60, after=0):
        """Waits until `text` is shown behind the first `after` characters; returns where it ends."""
        end = time.monotonic() + seconds
        while text not in self.screen[after:]:
            if not self.read(0.2) or time.monotonic() > end:
                raise AssertionError(f"{text!r} was not shown; the terminal has\n{self.screen[-3000:]}")
        return self.screen.index(text, after) + len(text)

    def type(self, text):
        os.write(self.fd, text.encode())

    def finish(self, seconds=60):
        """Waits for the end; returns the exit status."""
        end = time.monotonic() + seconds
        while self.read(0.2):
            if time.monotonic() > end:
                raise AssertionError(f"it does not end; the terminal has\n{self.screen[-3000:]}")
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def plain(self):
        """What was shown, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", self.screen).replace("\r\n", "\n")
