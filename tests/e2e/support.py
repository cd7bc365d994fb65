"""What the tests of the command line share: running it, a folder of their own, and recordings to run it on.

Only the standard library, ffmpeg, and $EARMARK_BIN: the command under test. ctest sets it; by hand: EARMARK_BIN=… python3 tests/e2e/bad_input.py
"""
import array
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import wave
import zlib
from pathlib import Path

DEMOS = Path(__file__).resolve().parents[2] / "tools/livekit"
sys.path.append(str(DEMOS))  # live_support.py, which the demos use, too

BINARY = Path(os.environ.get("EARMARK_BIN", Path(__file__).resolve().parents[2] / "build/release/tools/earmark/earmark")).resolve()
# Nothing of the user's may leak in, and nothing of ours out: whoever names no store gets one below a folder that is not there.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("EARMARK_", "XDG_", "NO_COLOR"))}


class Done:
    """A finished run."""

    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr

    def json(self):
        return json.loads(self.out)


class EndToEnd(unittest.TestCase):
    """Each test has a folder with listeners.txt (alice, bob and 98 more), and a store and a key that the first mark makes."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="earmark-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store, self.key = f"sqlite:{self.folder}/store.db", self.folder / "master.key"
        self.listeners = self.folder / "listeners.txt"
        self.listeners.write_text("\n".join(["alice", "bob"] + [f"listener-{i:02}" for i in range(98)]) + "\n")

    def path(self, name):
        return self.folder / name

    def environment(self):
        return ENVIRONMENT | {"HOME": str(self.folder / "home")}

    def command(self, *words, keyed=True):
        places = ["--store", self.store, "--key", self.key] if keyed else []
        return [str(word) for word in [BINARY, *words, *places]]

    def run_raw(self, *words, keyed=False, timeout=300):
        return Done(subprocess.run(self.command(*words, keyed=keyed), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                   errors="replace", cwd=self.folder, env=self.environment(), timeout=timeout, check=False))

    def earmark(self, *words):
        """A run that must succeed."""
        done = self.run_raw(*words, keyed=True)
        self.assertEqual(done.status, 0, f"earmark {words}: {done.err}")
        return done

    def mark(self, source, account, target, *options, stream="room"):
        self.earmark("mark", source, "--stream", stream, "--listeners", self.listeners, "--for", account, "--out", self.path(target), *options)
        return self.path(target)

    def plain(self, source, target, *options):
        self.earmark("mark", source, "--plain", "--out", self.path(target), *options)
        return self.path(target)

    def scan(self, clip, *options):
        return self.earmark("scan", clip, "--json", *options).json()

    def make_key(self, name):
        self.assertEqual(self.run_raw("keys", "create", "--key", self.path(name)).status, 0)

    def streams(self):
        return self.earmark("streams", "--json").json() if self.path("store.db").exists() else []

    def start(self, *words, **options):
        """A run that goes on while the test does."""
        process = subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, cwd=self.folder, env=self.environment(), **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def wait_until(self, event, what, limit_s=120):
        end = time.monotonic() + limit_s
        while not event():
            self.assertLess(time.monotonic(), end, f"{what} did not happen within {limit_s} s")
            time.sleep(0.02)

    def files(self):
        """Everything in the test's folder with size and time, but for SQLite's own files beside an open store."""
        return {str(p.relative_to(self.folder)): (p.stat().st_size, p.stat().st_mtime_ns) if p.is_file() else None
                for p in self.folder.rglob("*") if not p.name.endswith(("-wal", "-shm"))}

    def assert_accuses(self, report, *accounts):
        self.assertEqual(report["verdict"], "accused", report)
        self.assertEqual(sorted(a["account"] for a in report["accusations"]), sorted(accounts), report)

    def assert_refused(self, done, *words_in_message):
        """Status 2, nothing on stdout, and one clear line on stderr."""
        self.assertEqual(done.status, 2, done.err)
        self.assertEqual(done.out, "")
        self.assertTrue(done.err.endswith("\n") and done.err.count("\n") == 1, done.err)
        self.assertTrue(done.err.startswith("earmark: "), done.err)
        for word in words_in_message:
            self.assertIn(str(word), done.err)


class Demo(EndToEnd):
    """Plays `demo`, a program of tools/livekit, with a folder of its own for what is temporary."""

    def setUp(self):
        super().setUp()
        self.temporary = self.path("tmp")
        self.temporary.mkdir()

    def play(self, *words, **variables):
        process = subprocess.Popen([sys.executable, "-B", DEMOS / self.demo, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | {"TMPDIR": str(self.temporary)} | variables, cwd=self.folder)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_nothing_stays(self):
        self.assertEqual(list(self.temporary.iterdir()), [])
        running = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                running.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                pass
        self.assertEqual([words for words in running if str(self.temporary) in words], [])


# ---- recordings --------------------------------------------------------------------------------------------------------

def speech(seconds, seed=1, rate_hz=16000):
    """Something like speech: syllables of a voice with moving pitch and formants, consonants of noise, pauses. Floats within ±1."""
    rng = random.Random(seed)
    samples = []
    while len(samples) < seconds * rate_hz:
        for _ in range(rng.randint(3, 9)):
            samples += _syllable(rng, rate_hz)
        samples += [rng.gauss(0, 2e-4) for _ in range(int(rng.uniform(0.15, 0.5) * rate_hz))]
    samples = samples[:int(seconds * rate_hz)]
    peak = max(abs(x) for x in samples)
    return [0.6 * x / peak for x in samples]


def _syllable(rng, rate_hz):
    length = int(rng.uniform(0.12, 0.3) * rate_hz)
    consonant = int(rng.uniform(0.02, 0.08) * rate_hz)
    pitch, glide = rng.uniform(90, 220), rng.uniform(-0.3, 0.3)
    formants = [(rng.uniform(*span), width) for span, width in (((250, 850), 80), ((900, 2300), 120), ((2400, 3400), 180), ((4200, 6500), 400))]
    filters = []
    for frequency, width in formants:
        radius = math.exp(-math.pi * width / rate_hz)
        filters.append([2 * radius * math.cos(2 * math.pi * frequency / rate_hz), -radius * radius, (1 - radius) * 2, 0.0, 0.0])
    phase, out = 0.0, []
    for i in range(length):
        at = i / length
        phase += pitch * (1 + glide * at) / rate_hz
        pulse = phase >= 1
        if pulse:
            phase -= 1
        noise = rng.uniform(-1, 1)
        source = noise * 0.5 if i < consonant else (6.0 if pulse else 0.0) + noise * 0.06
        total = 0.0
        for f in filters:
            y = f[0] * f[3] + f[1] * f[4] + f[2] * source
            f[4], f[3] = f[3], y
            total += y
        out.append(total * min(1, 12 * at, 6 * (1 - at)))
    return out


def write_wav(path, channels, rate_hz=16000):
    """Channels of floats to a 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setparams((len(channels), 2, rate_hz, 0, "NONE", ""))
        file.writeframes(array.array("h", [round(32767 * x) for frame in zip(*channels) for x in frame]).tobytes())
    return path


def read_wav(path):
    """(rate, channels of 16-bit integers), by FFmpeg's word."""
    def ask(*words):
        return subprocess.run([*words], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    rate_hz, num_channels = map(int, ask("ffprobe", "-v", "error", "-show_entries", "stream=sample_rate,channels", "-of", "csv=p=0", path).split(b","))
    samples = array.array("h", ask("ffmpeg", "-nostdin", "-v", "error", "-i", path, "-f", "s16le", "-c:a", "pcm_s16le", "-"))
    return rate_hz, [samples[c::num_channels] for c in range(num_channels)]


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], stdin=subprocess.DEVNULL, check=True)


def png(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(range(48)) for _ in range(16))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


class Recordings:
    """The recordings of one test file, made once: `with_speech(20)` is a path."""
    folder = None

    @classmethod
    def path(cls, name):
        if cls.folder is None:
            cls.folder = Path(tempfile.mkdtemp(prefix="earmark-e2e-audio-"))
            unittest.addModuleCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        return cls.folder / name

    @classmethod
    def speech(cls, seconds, seed=1):
        path = cls.path(f"speech-{seconds}-{seed}.wav")
        return path if path.exists() else write_wav(path, [speech(seconds, seed)])

    @classmethod
    def converted(cls, name, *options, seconds=20, seed=1):
        path = cls.path(name)
        if not path.exists():
            ffmpeg("-i", cls.speech(seconds, seed), *options, path)
        return path
