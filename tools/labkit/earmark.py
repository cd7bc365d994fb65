"""The command under test, called as any script would call it (docs: earmark --help)."""
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .common import LabError

MEASURE = Path(__file__).with_name("measure.py")


@dataclass
class Scan:
    """One finished `earmark scan --json`. error is set, and verdict "error", when it did not finish."""
    verdict: str
    accusations: list = field(default_factory=list)
    alignments: list = field(default_factory=list)
    symbols_used: int = 0
    seconds_needed: object = None
    wall_s: float = 0.0
    peak_rss_mb: float = 0.0
    error: str = ""

    @property
    def accused(self):
        return {(a["account"], a["stream"]) for a in self.accusations}

    @property
    def streams(self):
        return {a["stream"] for a in self.alignments}


class Earmark:
    """One store and one key. Marking writes to the store, so do that from one process; scans may run side by side."""

    def __init__(self, binary, store, key):
        self.binary, self.key = Path(binary), Path(key)
        self.store = str(store) if ":" in str(store) else f"sqlite:{store}"
        if not os.access(self.binary, os.X_OK):
            raise LabError(f"{self.binary}: no such command; build it first, or name it with --earmark or $EARMARK_BIN")

    def mark(self, source, stream, listeners, account, target, *options):
        self._run("mark", source, "--stream", stream, "--listeners", listeners, "--for", account, "--out", target,
                  "--store", self.store, "--key", self.key, *options)

    def mark_plain(self, source, stream, target, *options):
        self._run("mark", source, "--stream", stream, "--plain", "--out", target,
                  "--store", self.store, "--key", self.key, *options)

    def scan(self, clip, bound=1e-6, one_core=False):
        command = [str(self.binary), "scan", str(clip), "--store", self.store, "--key", str(self.key),
                   "--max-false-accusation", f"{bound:g}", "--json"]
        reader, writer = os.pipe()
        launcher = [sys.executable, "-I", "-S", str(MEASURE), str(writer), "one" if one_core else "all"]
        done = subprocess.run(launcher + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              pass_fds=[writer], check=False)
        os.close(writer)
        with os.fdopen(reader) as f:
            wall_s, rss_mb = (float(v) for v in f.read().split() or (0, 0))
        measured = {"wall_s": wall_s, "peak_rss_mb": rss_mb}
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
            return Scan("error", error=lines[-1][:200], **measured)
        try:
            found = json.loads(done.stdout)
            return Scan(found["verdict"], found["accusations"], found["alignments"], found.get("symbols_used", 0),
                        found.get("seconds_needed"), **measured)
        except (ValueError, KeyError, TypeError) as error:
            return Scan("error", error=f"scan --json printed something else: {error!r}", **measured)

    def _run(self, *words):
        command = [str(self.binary)] + [str(w) for w in words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise LabError(f"{' '.join(command[:6])} ... ended with status {done.returncode}: {lines[-1][:300]}")


def write_accounts(path, count, prefix):
    """A listeners file of opaque account ids, one a line."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{account_name(prefix, i)}\n" for i in range(count)))
        partial.rename(path)
    return path


def account_name(prefix, index):
    return f"{prefix}-{index:06d}"
