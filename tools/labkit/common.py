"""What every sub-command shares: errors, child processes, progress on stderr, file names."""
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DEFAULT_CORPUS = REPO / "corpus"
DEFAULT_OUT = REPO / "lab-out"


class LabError(Exception):
    """Something the user can put right; printed as one line, exit status 2."""


def require_tools(*names):
    """Fails with the Debian package to install for the first command that is not there."""
    packages = {"ffmpeg": "ffmpeg", "ffprobe": "ffmpeg", "opusenc": "opus-tools", "opusdec": "opus-tools",
                "sox": "sox libsox-fmt-all", "oggenc": "vorbis-tools", "speexenc": "speex", "apt-get": "apt",
                "dpkg-deb": "dpkg"}
    for name in names:
        if not any(os.access(os.path.join(d, name), os.X_OK) for d in os.environ.get("PATH", "").split(":")):
            if "/" in name:
                raise LabError(f"{name}: no such program")
            raise LabError(f"the command '{name}' is missing; install it with: apt-get install {packages.get(name, name)}")


def run_tool(*command, binary_output=False):
    """Runs a helper program to its end and returns its stdout; LabError with the last line of stderr if it fails."""
    words = [str(w) for w in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError:
        require_tools(words[0])
        raise
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise LabError(f"{words[0]} failed with status {done.returncode}: {lines[-1][:300]}")
    return done.stdout if binary_output else done.stdout.decode(errors="replace")


def seed_of(*parts):
    """A 32-bit seed that depends on the words given and on nothing else (Python's own hash() changes per process)."""
    return int(hashlib.sha256("/".join(str(p) for p in parts).encode()).hexdigest()[:8], 16)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


class Progress:
    """Counts finished jobs on stderr with the time left; one rewritten line on a terminal, else a line every 30 s."""

    def __init__(self, label, total):
        self.label, self.total, self.done = label, total, 0
        self.started = self.last_print = time.monotonic()
        self.on_terminal = sys.stderr.isatty()

    def step(self, note=""):
        self.done += 1
        now = time.monotonic()
        if now - self.last_print < (0.2 if self.on_terminal else 30) and self.done < self.total:
            return
        self.last_print = now
        left_s = (now - self.started) / self.done * (self.total - self.done)
        line = f"{self.label}: {self.done}/{self.total}, about {duration(left_s)} left {note}"
        if self.on_terminal:
            print(f"\r\033[K{line}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        else:
            say(line)


def duration(seconds):
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
