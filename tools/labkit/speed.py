"""tools/lab speed: how fast a 60 s clip is searched and scored against a large store, on one core.

The store is either made here, by marking long streams shuffled together from corpus items, or passed in ready-made.
"""
import json
import math
import statistics
import time
from pathlib import Path

import numpy as np
from scipy import signal
from scipy.io import wavfile

from . import attacks, audio, corpus, tables
from .common import DEFAULT_OUT, LabError, duration, require_tools, say, seed_of
from .earmark import Earmark, account_name, write_accounts

GOAL_TIMES_REAL_TIME, GOAL_RSS_MB = 30, 300
STREAM_HOURS = 2            # per stream; a 48 kHz mono WAV of two hours is 690 MB
CLIP_S = 60


def shuffled_stream(path, items, hours, seed):
    """Random stretches of random items, each at a random speed, so that no two hours sound alike to a search."""
    rng = np.random.default_rng(seed)
    total, parts, count = int(hours * 3600 * audio.RATE_HZ), [], 0
    while count < total:
        x = items[int(rng.integers(len(items)))]
        length = int(rng.uniform(20, 60) * audio.RATE_HZ)
        start = int(rng.integers(max(1, len(x) - length)))
        piece = signal.resample_poly(x[start:start + length], int(rng.integers(80, 126)), 100)
        parts.append(np.clip(piece * 32767, -32768, 32767).astype(np.int16))
        count += len(piece)
    wavfile.write(path, audio.RATE_HZ, np.concatenate(parts)[:total])


def build_store(args, earmark, folder):
    """Marks streams until the store holds --hours; goes on where an earlier run stopped. Returns a leaked copy's clip."""
    state_path = folder / "streams.json"
    state = json.loads(state_path.read_text()) if state_path.exists() else []
    listeners = write_accounts(folder / "accounts.txt", args.accounts, "listener")
    leaker = account_name("listener", seed_of("speed") % args.accounts)
    count = math.ceil(args.hours / STREAM_HOURS)
    say(f"the store needs {count} streams of {min(STREAM_HOURS, args.hours):g} h; {len(state)} are there")
    items = None
    for index in range(len(state), count):
        hours = min(STREAM_HOURS, args.hours - index * STREAM_HOURS)
        if items is None:
            rows = corpus.read_manifest(args.set_folder)
            items = [audio.read_wav(args.set_folder / row["file"])[0].mean(axis=1) for row in rows]
        wav, copy = folder / "stream.wav", folder / ("leaked.opus" if index == 0 else "copy.opus")
        started = time.monotonic()
        shuffled_stream(wav, items, hours, seed_of("stream", index))
        earmark.mark(wav, f"room-{index:03d}", listeners, leaker, copy, "--bitrate", "32k")
        wav.unlink()
        if index > 0:
            copy.unlink()
        state.append({"stream": f"room-{index:03d}", "hours": hours})
        state_path.write_text(json.dumps(state, indent=1) + "\n")
        took_s = time.monotonic() - started
        say(f"stream {index + 1}/{count} marked in {duration(took_s)}; about {duration(took_s * (count - index - 1))} left")
    clip = folder / "clip.m4a"
    if not clip.exists():
        attacks.ffmpeg("-ss", 600 if args.hours > 0.3 else 0, "-t", CLIP_S, "-i", folder / "leaked.opus", "-c:a", "aac", "-b:a", "64k", clip)
    return clip


def add_parser(commands, common, under_test):
    parser = commands.add_parser(
        "speed", parents=[common, under_test], help="scan a 60 s clip against a large store, on one core",
        description="Prints how many times real time `earmark scan` of a 60 s clip runs on one core, and its peak memory, as the median of "
                    "several runs. Without --store it first marks --hours of audio, shuffled together from corpus items, in streams of "
                    f"{STREAM_HOURS} h; marking runs at 10 to 20 times real time, so 100 h take 5 to 10 hours (once; an interrupted build "
                    "goes on). A store filled in any other way can be passed in.",
        epilog="examples:\n  tools/lab speed --hours 2\n  tools/lab speed --store sqlite:/data/big.db --key /data/key --clip leak.m4a --hours 100")
    parser.add_argument("--set", default="dev", choices=["dev", "heldout", "demo"], help="items to shuffle (default: dev)")
    parser.add_argument("--hours", type=float, default=100, help="stream-hours in the store (default: 100)")
    parser.add_argument("--accounts", type=int, default=10000, help="listeners of every stream (default: 10000)")
    parser.add_argument("--runs", type=int, default=5, help="scans to take the median of, after one to warm up (default: 5)")
    parser.add_argument("--store", help="a ready-made store instead (then --key and --clip are needed; --hours is only printed)")
    parser.add_argument("--key", type=Path, help="key file of that store")
    parser.add_argument("--clip", type=Path, help="clip to scan (default: 60 s of a leaked copy as AAC 64 kb/s)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for the store (default: lab-out)")
    parser.set_defaults(run=main)


def main(args):
    require_tools("ffmpeg", "ffprobe")
    args.set_folder = args.corpus.resolve() / args.set
    if args.store:
        if not args.key or not args.clip:
            raise LabError("--store needs --key and --clip, too")
        earmark, clip = Earmark(args.earmark, args.store, args.key), args.clip
    else:
        folder = args.out.resolve() / f"speed-{args.hours:g}h"
        folder.mkdir(parents=True, exist_ok=True)
        earmark = Earmark(args.earmark, folder / "store.db", folder / "key")
        built = build_store(args, earmark, folder)
        clip = args.clip or built
    clip_s = len(audio.decode(clip, 1, 8000)) / 8000
    scans = [earmark.scan(clip, one_core=True) for _ in range(args.runs + 1)][1:]
    failed = next((s for s in scans if s.verdict == "error"), None)
    if failed:
        raise LabError(f"earmark scan failed: {failed.error}")
    times_real_time = clip_s / statistics.median(s.wall_s for s in scans)
    rss_mb = max(s.peak_rss_mb for s in scans)
    rows = [["scan", f"{times_real_time:.1f} × real time", f"≥ {GOAL_TIMES_REAL_TIME} ×", "yes" if times_real_time >= GOAL_TIMES_REAL_TIME else "NOT MET"],
            ["peak memory", f"{rss_mb:.0f} MB", f"≤ {GOAL_RSS_MB} MB", "yes" if rss_mb <= GOAL_RSS_MB else "NOT MET"]]
    print(f"Clip of {clip_s:.0f} s against {args.hours:g} stream-hours and {args.accounts} accounts a stream, one core, median of "
          f"{args.runs}; verdict: {', '.join(sorted({s.verdict for s in scans}))}.\n")
    print(tables.markdown(["", "measured", "goal", "met"], rows, "lrrl"))
    return 0
