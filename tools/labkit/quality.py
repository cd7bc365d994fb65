"""tools/lab quality: what the mark costs the listener, as PEAQ's objective difference grade (ODG).

Against the original item: the plain Opus encode and the spliced copies, both decoded by the same decoder. What counts is the
difference of the two at the same bitrate. And the marked PCM (no codec) against the item. PEAQ is a program outside this
project, called as `PEAQ [--advanced] REF.wav TEST.wav`; it repeats to about ±0.05, hence several copies of each item.
"""
import csv
import os
import re
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import signal

from . import audio, corpus, tables
from .common import DEFAULT_OUT, LabError, Progress, require_tools, run_tool, say
from .earmark import Earmark, write_accounts
from .run import choose_items, leakers_of

GOALS = {"spliced": (-0.05, -0.15), "pcm": (-0.10, -0.25)}      # mean and worst
BASIC, ADVANCED = "basic", "advanced"
BASIC_NEEDS_HZ = 8300       # with nothing above 8 kHz the basic model's bandwidth terms break down
MAX_DELAY_S = 0.2


def odg(command, model, reference, test):
    """Runs PEAQ on two WAVs; the last number after ODG or Grade is the result, or the last number printed at all."""
    text = run_tool(*command, *(["--advanced"] if model == ADVANCED else []), reference, test)
    named = re.findall(r"(?:ODG|Grade)\D*?(-?\d+(?:\.\d+)?)", text, re.IGNORECASE)
    found = named or re.findall(r"-?\d+\.\d+", text)
    if not found:
        raise LabError(f"{command[0]} printed no grade: {text.strip()[:200]!r}")
    return float(found[-1])


def delay_samples(reference, test):
    """By how many samples test lags behind reference, by cross-correlation within ±0.2 s."""
    a, b = reference.mean(axis=1), test.mean(axis=1)
    count = min(len(a), len(b))
    correlation = signal.correlate(b[:count], a[:count], method="fft")
    middle, reach = count - 1, min(count - 1, int(MAX_DELAY_S * audio.RATE_HZ))
    return int(np.argmax(correlation[middle - reach:middle + reach + 1])) - reach


def aligned_pair(original, test, folder, name):
    """Two WAVs of equal length, the test's delay taken out; returns their paths and that delay."""
    delay = delay_samples(original, test)
    reference = original
    if delay >= 0:
        test = test[delay:]
    else:
        reference = reference[-delay:]
    count = min(len(reference), len(test))
    paths = Path(folder) / f"{name}-ref.wav", Path(folder) / f"{name}-test.wav"
    for path, x in zip(paths, (reference, test)):
        audio.write_wav(path, x[:count])
    return paths, delay


def decode_copy(path, channels):
    """Both Opus files through one decoder (ffmpeg takes the pre-skip off), so that only the packets differ."""
    return audio.decode(path, channels)


class Measurements:
    """quality.csv: every grade, so that a rerun measures only what is missing."""
    FIELDS = ["item", "what", "bitrate", "copy", "model", "odg", "delay_samples"]

    def __init__(self, path):
        self.path, self.rows = path, {}
        if path.exists():
            with open(path, newline="") as f:
                for row in csv.DictReader(f):
                    if row["odg"]:
                        self.rows[self.key(row)] = row

    @staticmethod
    def key(row):
        return tuple(row[k] for k in Measurements.FIELDS[:5])

    def add(self, row):
        row = {k: str(row[k]) for k in self.FIELDS}
        new = not self.path.exists()
        with open(self.path, "a", newline="") as f:
            writer = csv.DictWriter(f, self.FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows[self.key(row)] = row

    def grades(self, item, what, bitrate, model):
        return [float(r["odg"]) for r in self.rows.values()
                if (r["item"], r["what"], r["bitrate"], r["model"]) == (item, what, bitrate, model)]


def models_for(row):
    return [BASIC, ADVANCED] if float(row["bandwidth_hz"]) >= BASIC_NEEDS_HZ else [ADVANCED]


def make_copies(args, row):
    """All files to grade, marking what is missing: [(what, bitrate, copy name, path)]."""
    item, wav = row["item"], args.set_folder / row["file"]
    folder = args.out / "quality" / item
    folder.mkdir(parents=True, exist_ok=True)
    listeners = write_accounts(args.out / "quality" / "accounts" / f"{item}.txt", args.accounts, item)
    accounts = leakers_of(item, args.accounts, args.copies)
    copies = []
    for bitrate in args.bitrates:
        earmark = Earmark(args.earmark, args.out / "quality" / f"store-{bitrate}.db", args.out / "quality" / "key")
        copies.append(("plain", bitrate, "plain", folder / f"plain-{bitrate}.opus",
                       lambda out, e=earmark, b=bitrate: e.mark_plain(wav, item, out, "--bitrate", b)))
        for account in accounts:
            copies.append(("spliced", bitrate, account, folder / f"{account}-{bitrate}.opus",
                           lambda out, e=earmark, b=bitrate, a=account: e.mark(wav, item, listeners, a, out, "--bitrate", b, "--strength", args.strength)))
    bare = Earmark(args.earmark, args.out / "quality" / "store-pcm.db", args.out / "quality" / "key")
    for account in accounts:
        copies.append(("pcm", "-", account, folder / f"{account}-pcm.wav",
                       lambda out, a=account: bare.mark(wav, item, listeners, a, out, "--codec", "none")))
    for _, _, _, path, make in copies:
        if not path.exists():
            partial = path.with_name(f"partial-{path.name}")
            make(partial)
            partial.rename(path)
    return [copy[:4] for copy in copies]


def grade(args, row, copy):
    """Grades one copy with every model of the item."""
    what, bitrate, name, path = copy
    original, _ = audio.read_wav(args.set_folder / row["file"])
    test = decode_copy(path, original.shape[1])
    with tempfile.TemporaryDirectory(prefix="lab-quality-") as folder:
        (reference_path, test_path), delay = aligned_pair(original, test, folder, name)
        results = []
        for model in models_for(row):
            try:
                value = odg(args.peaq_command, model, reference_path, test_path)
            except LabError as error:           # PEAQ has no answer for some items; the table says n/a
                say(f"{row['item']}, {what}, {model}: {error}")
                continue
            results.append({"item": row["item"], "what": what, "bitrate": bitrate, "copy": name, "model": model,
                            "odg": value, "delay_samples": delay})
        return results


def measure(args, rows, measurements, copies_of=make_copies):
    """Grades what is missing of copies_of(args, row): tuples as make_copies returns them."""
    # Marking first and one at a time (one writer per store), grading then in parallel: the work is in child processes.
    jobs = []
    progress = Progress("marking", len(rows))
    for row in rows:
        for copy in copies_of(args, row):
            what, bitrate, name, _ = copy
            if any((row["item"], what, bitrate, name, model) not in measurements.rows for model in models_for(row)):
                jobs.append((row, copy))
        progress.step()
    progress = Progress("grading", len(jobs))
    with ThreadPoolExecutor(args.jobs) as pool:
        for results in pool.map(lambda job: grade(args, *job), jobs):
            for result in results:
                if Measurements.key({k: str(v) for k, v in result.items()}) not in measurements.rows:
                    measurements.add(result)
            progress.step()


def mean(values):
    return sum(values) / len(values)


def cell(value):
    return "n/a" if value is None else f"{value:+.2f}"


def verdict(differences, goal):
    """Last rows of a table: mean and worst with the goals beside them."""
    if not differences:
        return "n/a", "n/a"
    average, worst = mean(differences), min(differences)
    return (f"{average:+.3f} (goal ≥ {goal[0]:.2f}: {'met' if average >= goal[0] else 'NOT MET'})",
            f"{worst:+.3f} (goal ≥ {goal[1]:.2f}: {'met' if worst >= goal[1] else 'NOT MET'})")


def spliced_table(rows, measurements, bitrate):
    body, differences = [], {BASIC: [], ADVANCED: []}
    for row in rows:
        cells = [row["item"], row["kind"]]
        for model in (BASIC, ADVANCED):
            plain = measurements.grades(row["item"], "plain", bitrate, model)
            spliced = measurements.grades(row["item"], "spliced", bitrate, model)
            if plain and spliced:
                differences[model].append(mean(spliced) - mean(plain))
                cells += [cell(mean(plain)), cell(mean(spliced)), cell(differences[model][-1])]
            else:
                cells += ["n/a"] * 3
        body.append(cells)
    header = ["item", "kind"] + [f"{word}, {model}" for model in (BASIC, ADVANCED) for word in ("plain", "spliced", "difference")]
    return closing(tables.markdown(header, body, "llrrrrrr"), differences, GOALS["spliced"])


def pcm_table(rows, measurements):
    body, grades = [], {BASIC: [], ADVANCED: []}
    for row in rows:
        cells = [row["item"], row["kind"]]
        for model in (BASIC, ADVANCED):
            values = measurements.grades(row["item"], "pcm", "-", model)
            if values:
                grades[model].append(mean(values))
            cells.append(cell(mean(values) if values else None))
        body.append(cells)
    return closing(tables.markdown(["item", "kind", "ODG, basic", "ODG, advanced"], body, "llrr"), grades, GOALS["pcm"])


def closing(table, values, goal):
    lines = [table, ""]
    for model in (BASIC, ADVANCED):
        average, worst = verdict(values[model], goal)
        lines.append(f"{model}: mean {average}, worst item {worst}  ")
    return "\n".join(lines) + "\n"


def add_parser(commands, common, under_test):
    parser = commands.add_parser(
        "quality", parents=[common, under_test], help="what the mark costs the listener (needs a PEAQ program)",
        description="Grades plain encodes, spliced copies and marked PCM of every item with PEAQ and prints Markdown tables. The PEAQ "
                    "program is called as PEAQ [--advanced] REF.wav TEST.wav and prints an ODG; build one, for instance from GstPEAQ. "
                    "Grades are kept in quality.csv below --out; a rerun measures what is missing.",
        epilog="examples:\n  tools/lab quality --set heldout --peaq ~/bin/peaq\n  PEAQ=~/bin/peaq tools/lab quality --items cs_dialog --set dev --bitrate 32k")
    parser.add_argument("--set", default="heldout", choices=["dev", "heldout", "demo"])
    parser.add_argument("--items", help="only these, with commas between")
    parser.add_argument("--peaq", default=os.environ.get("PEAQ"), help="the PEAQ program, with options if it needs any (default: $PEAQ)")
    parser.add_argument("--bitrate", default="32k,64k", help="with commas between (default: 32k,64k)")
    parser.add_argument("--strength", default="50", help="of the marks, 1 to 100 (default: 50); another wants another --out")
    parser.add_argument("--copies", type=int, default=3, help="listeners' copies to average over (default: 3)")
    parser.add_argument("--accounts", type=int, default=10000, help="listeners of every stream (default: 10000)")
    parser.add_argument("--jobs", type=int, default=2, help="gradings at a time (default: 2)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for copies and results (default: lab-out)")
    parser.set_defaults(run=main)


def peaq_command(args):
    if not args.peaq:
        raise LabError("give a PEAQ program with --peaq or $PEAQ; it is called as PEAQ [--advanced] REF.wav TEST.wav and prints an ODG")
    command = shlex.split(args.peaq)
    require_tools(command[0])
    return command


def main(args):
    args.peaq_command = peaq_command(args)
    args.bitrates = args.bitrate.split(",")
    args.set_folder, args.out = args.corpus.resolve() / args.set, args.out.resolve()
    args.earmark = Path(args.earmark).resolve()
    require_tools("ffmpeg", "ffprobe")
    args.out.mkdir(parents=True, exist_ok=True)
    rows, measurements = choose_items(args), Measurements(args.out / "quality.csv")
    measure(args, rows, measurements)
    delays = {int(r["delay_samples"]) for r in measurements.rows.values()}
    if delays != {0}:
        say(f"note: delays taken out before grading, in samples: {sorted(delays)}")
    print(f"ODG against the original item, mean of {args.copies} copies (set `{args.set}`). Basic model n/a where the item has "
          "nothing above 8 kHz.\n")
    for bitrate in args.bitrates:
        print(f"Opus {bitrate}b/s\n\n{spliced_table(rows, measurements, bitrate)}")
    print(f"Marked PCM, no codec\n\n{pcm_table(rows, measurements)}")
    return 0
