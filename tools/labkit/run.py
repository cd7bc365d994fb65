"""tools/lab run: marks, leaks, attacks, cuts and scans; prints how often the right account, and no other, is named.

One store holds all items of the set as streams. Of every item several accounts leak their copies. The whole copy is
attacked, then clips are cut out of the result, as somebody would cut a recording of a rebroadcast. Scans are not told which
stream to look in. Every trial is a row of trials.csv; a rerun does only what is not there yet.
"""
import csv
import hashlib
import json
import multiprocessing
import os
import signal
import statistics
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from . import attacks, audio, corpus, tables
from .common import DEFAULT_OUT, LabError, Progress, require_tools, run_tool, say, seed_of
from .earmark import Earmark, account_name, write_accounts

NEGATIVE_CLIP_S = 60
NEGATIVES = {
    "unmarked": "the plain encode of an item, never marked",
    "other_mark": "an item's audio marked in another store with another key",
    "not_in_store": "marked audio against a store that lacks its stream",
    "wrong_key": "a marked copy against its own store, opened with another key",
    "silence": "digital silence and a -66 dBFS floor",
    "white_noise": "white noise",
    "pink_noise": "pink noise",
}
SOUNDING, ANY = "sounding", "any"
RIGHT, WRONG, NO_ACCUSATION, NO_STREAM, ERROR, SKIPPED = (
    "right", "wrong", "no_accusation", "no_stream", "error", "skipped")


@dataclass
class Trial:
    """A row of trials.csv. outcome: right, wrong (another account accused, alone or besides), no_accusation,
    no_stream (unknown audio or only other streams), error,
    skipped (no place in the item where half of such a clip sounds; counted nowhere)."""
    item: str
    kind: str
    attack: str
    clip_s: float
    position: str
    trial: int
    leaker: str
    start_s: float = 0.0
    outcome: str = ""
    named: str = ""
    log10_bound: str = ""
    symbols_used: int = 0
    seconds_needed: str = ""
    scan_s: float = 0.0
    peak_rss_mb: float = 0.0
    error: str = ""
    log10_p: str = ""           # of the right account, if it is accused

    @property
    def key(self):
        return self.item, self.attack, float(self.clip_s), self.position, int(self.trial)


class Folders:
    """Where things lie below --out."""

    def __init__(self, out):
        self.out = out
        self.settings, self.trials = out / "settings.json", out / "trials.csv"
        self.key, self.foreign_key = out / "key", out / "foreign.key"
        self.store, self.foreign_store = out / "store.db", out / "foreign.db"

    def accounts(self, item):
        return self.out / "accounts" / f"{item}.txt"

    def copy(self, item, who):
        return self.out / "copies" / item / f"{who}.wav"

    def attacked(self, item, attack, who):
        return self.out / "attacked" / item / f"{attack}.{who}.flac"


def foreign_items(args):
    """The first half of the whole set, whatever --items says, so that the foreign store is always the same."""
    every = [row["item"] for row in corpus.read_manifest(args.set_folder)]
    return set(every[:(len(every) + 1) // 2])


def leakers_of(item, accounts, count):
    rng = np.random.default_rng(seed_of("leakers", item))
    return [account_name(item, int(i)) for i in rng.choice(accounts, count, replace=False)]


# ---- preparing: marks --------------------------------------------------------------------------------------------------

def mark_options(args):
    return ("--bitrate", args.bitrate, "--strength", args.strength)


def prepare(args, folders, rows, negatives):
    """Marks every item for its leakers (one encode, then the other leakers' copies), in this process: one writer."""
    home = Earmark(args.earmark, folders.store, folders.key)
    away = Earmark(args.earmark, folders.foreign_store, folders.foreign_key)
    foreign = foreign_items(args)
    jobs = []
    for row in rows:
        item, wav = row["item"], args.set_folder / row["file"]
        listeners = write_accounts(folders.accounts(item), args.accounts, item)
        for account in leakers_of(item, args.accounts, args.leakers):
            jobs.append((folders.copy(item, account),
                         lambda out, w=wav, i=item, l=listeners, a=account: home.mark(w, i, l, a, out, *mark_options(args))))
        if "unmarked" in negatives:
            jobs.append((folders.copy(item, "plain"),
                         lambda out, w=wav, i=item: home.mark_plain(w, i, out, "--bitrate", args.bitrate)))
        if item in foreign and set(negatives) & {"other_mark", "not_in_store", "wrong_key"}:
            stream = f"foreign-{item}"
            listeners = write_accounts(folders.accounts(stream), args.accounts, stream)
            account = leakers_of(stream, args.accounts, 1)[0]
            jobs.append((folders.copy(item, "foreign"),
                         lambda out, w=wav, i=stream, l=listeners, a=account: away.mark(w, i, l, a, out, *mark_options(args))))
    jobs = [(target, make) for target, make in jobs if not target.exists()]
    progress = Progress("marking", len(jobs))
    for target, make in jobs:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"partial-{target.name}")
        make(partial)
        partial.rename(target)
        progress.step(f"({target.parent.name})")


def check_settings(args, folders):
    """Trials of different builds or settings must not end up in one table."""
    build = hashlib.sha256(Path(args.earmark).read_bytes()).hexdigest()[:16]
    now = {"build": build, "set": args.set, "accounts": args.accounts, "leakers": args.leakers, "bitrate": args.bitrate,
           "strength": args.strength}
    if folders.settings.exists():
        before = json.loads(folders.settings.read_text())
        changed = [k for k in now if before.get(k) != now[k]]
        if changed == ["build"] and args.on_new_build == "rescan":
            folders.trials.unlink(missing_ok=True)
        elif changed == ["build"] and args.on_new_build == "keep":
            return
        elif changed == ["build"]:
            raise LabError(f"the trials in {folders.out} are from another build of earmark: give --on-new-build rescan (same copies "
                           "and store, new scans) or keep (go on), or another --out")
        elif changed:
            raise LabError(f"{folders.out} was made with other settings ({', '.join(changed)}); choose another --out")
    folders.settings.write_text(json.dumps(now, indent=1) + "\n")


# ---- one task: an item, an attack, a leaker ----------------------------------------------------------------------------

@dataclass
class Task:
    args: object
    out: Path
    row: dict
    attack: str
    negative: bool
    who: str                    # leaker's account, or the copy a negative takes its clips from
    other: object               # recording for attacks that mix one in
    trials: list                # Trial rows to fill


def attacked_copy(task, folders):
    """The attacked copy, from the cache or made now; kept as FLAC, which is half the size."""
    item = task.row["item"]
    target = folders.attacked(item, task.attack, task.who)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lab-run-") as scratch:
        wav, partial = Path(scratch) / "attacked.wav", target.with_name(f"partial-{os.getpid()}-{target.name}")
        seed = seed_of("attack", item, task.attack, task.who)
        attacks.attack_file(task.attack, folders.copy(item, task.who), wav, seed, task.other)
        run_tool("ffmpeg", "-nostdin", "-v", "error", "-y", "-i", wav, "-c:a", "flac", "-sample_fmt", "s16", partial)
        partial.rename(target)
    return target


def load(path):
    rate_hz, channels = audio.probe(path)
    return audio.decode(path, channels, rate_hz), rate_hz


def sounding_share(levels_db, start_s, clip_s, floor_db):
    first, last = int(start_s / 0.02), int((start_s + clip_s) / 0.02)
    window = levels_db[first:last]
    return float((window > floor_db).mean()) if len(window) else 0.0


def choose_start(rng, length_s, clip_s, position, levels_db, time_scale):
    """A uniformly random start; for SOUNDING, one where half of the clip's frames are within 40 dB of the loud level.

    levels_db are those of the unattacked item (noise must not make silence count); time_scale maps clip time to its time.
    None where there is no such place: an item of long pauses may have none for long clips."""
    if length_s < clip_s:
        raise LabError(f"a clip of {clip_s:g} s does not fit into an attacked copy of {length_s:.1f} s")
    floor_db = audio.loud_level_db(levels_db) - 40
    for _ in range(10000):
        start_s = rng.uniform(0, length_s - clip_s)
        if position == ANY or sounding_share(levels_db, start_s * time_scale, clip_s * time_scale, floor_db) >= 0.5:
            return start_s
    return None


def scan_clip(earmark, x, rate_hz, container, bound):
    with tempfile.TemporaryDirectory(prefix="lab-clip-") as scratch:
        clip = Path(scratch) / "clip.wav"
        audio.write_wav(clip, x, rate_hz)
        if container != "wav":
            wrapped = clip.with_suffix(f".{container}")
            attacks.wrap(clip, wrapped)
            clip = wrapped
        return earmark.scan(clip, bound)


def fill(trial, scan, expected_account, expected_stream):
    trial.scan_s, trial.peak_rss_mb = round(scan.wall_s, 3), round(scan.peak_rss_mb, 1)
    trial.symbols_used, trial.error = scan.symbols_used, scan.error
    trial.seconds_needed = "" if scan.seconds_needed is None else str(scan.seconds_needed)
    trial.named = " ".join(sorted(account for account, _ in scan.accused))
    if scan.accusations:
        trial.log10_bound = f"{min(a['log10_bound'] for a in scan.accusations):.2f}"
    right = [a["log10_p"] for a in scan.accusations if (a["account"], a["stream"]) == (expected_account, expected_stream)]
    trial.log10_p = f"{right[0]:.2f}" if right else ""
    if scan.verdict == "error":
        trial.outcome = ERROR
    elif scan.accused:
        trial.outcome = RIGHT if scan.accused == {(expected_account, expected_stream)} else WRONG
    else:
        trial.outcome = NO_ACCUSATION if expected_stream in scan.streams else NO_STREAM


def perform(task):
    return perform_negative(task) if task.negative else perform_attack(task)


def perform_attack(task):
    folders, item = Folders(task.out), task.row["item"]
    attack = attacks.ATTACKS[task.attack]
    path = attacked_copy(task, folders)
    x, rate_hz = load(path)
    original, original_rate_hz = audio.read_wav(task.args.set_folder / task.row["file"])
    length_s, original_s = len(x) / rate_hz, len(original) / original_rate_hz
    if attack.keeps_order:
        levels_db, scale = audio.frame_levels_db(original, original_rate_hz), original_s / length_s
    else:                                       # no map back to the item, so the attacked copy itself must sound
        levels_db, scale = audio.frame_levels_db(x, rate_hz), 1.0
    earmark = Earmark(task.args.earmark, folders.store, folders.key)
    for trial in task.trials:
        rng = np.random.default_rng(seed_of("clip", *trial.key))
        start_s = choose_start(rng, length_s, trial.clip_s, trial.position, levels_db, scale)
        if start_s is None:
            trial.outcome = SKIPPED
            continue
        trial.start_s = round(start_s, 3)
        first = int(trial.start_s * rate_hz)
        clip = x[first:first + int(trial.clip_s * rate_hz)]
        fill(trial, scan_clip(earmark, clip, rate_hz, attack.container, task.args.bound), trial.leaker, item)
    if task.args.drop_attacked:
        path.unlink()
    return task.trials


def perform_negative(task):
    folders = Folders(task.out)
    home = Earmark(task.args.earmark, folders.store, folders.key)
    scanner = {"not_in_store": Earmark(task.args.earmark, folders.foreign_store, folders.foreign_key),
               "wrong_key": Earmark(task.args.earmark, folders.store, folders.foreign_key)}.get(task.attack, home)
    for trial in task.trials:
        rng = np.random.default_rng(seed_of("negative", *trial.key))
        rate_hz, count = audio.RATE_HZ, int(trial.clip_s * audio.RATE_HZ)
        if task.attack == "silence":
            clip = rng.standard_normal((count, 1)) * (5e-4 if trial.trial % 2 else 0)
        elif task.attack == "white_noise":
            clip = rng.standard_normal((count, 1)) * 0.1
        elif task.attack == "pink_noise":
            clip = attacks.pink_noise(count, rng)[:, None] * 0.1
        else:
            x, rate_hz = audio.read_wav(folders.copy(task.row["item"], task.who))
            trial.start_s = round(rng.uniform(0, max(0, len(x) / rate_hz - trial.clip_s)), 3)
            first = int(trial.start_s * rate_hz)
            clip = x[first:first + int(trial.clip_s * rate_hz)]
        fill(trial, scan_clip(scanner, clip, rate_hz, "wav", task.args.bound), None, None)
    return task.trials


# ---- planning ----------------------------------------------------------------------------------------------------------

def plan(args, folders, rows, chosen, negatives, done):
    """Tasks whose trials are not in trials.csv yet. What voice_* attacks mix in is another item of speech."""
    tasks = []
    position = ANY if args.any_position else SOUNDING
    voices = [row for row in corpus.read_manifest(args.set_folder) if row["kind"] == "speech"]
    for index, row in enumerate(rows):
        item = row["item"]
        others = [v for v in voices if v["item"] != item] or voices or rows
        other = args.set_folder / others[index % len(others)]["file"]
        leakers = leakers_of(item, args.accounts, args.leakers)
        for attack in chosen:
            lengths = args.clip_s or [attack.group.clip_s]
            trials = [Trial(item, row["kind"], attack.name, length, position, n, leakers[n % len(leakers)])
                      for length in lengths for n in range(args.trials)]
            for leaker in leakers:
                missing = [t for t in trials if t.leaker == leaker and t.key not in done]
                if missing:
                    tasks.append(Task(args, folders.out, row, attack.name, False, leaker, other, missing))
    return tasks + plan_negatives(args, folders, rows, negatives, done)


def plan_negatives(args, folders, rows, negatives, done):
    tasks = []
    foreign = foreign_items(args) if negatives else set()
    for name in negatives:
        for index, row in enumerate(rows):
            item = row["item"]
            if (name == "other_mark" and item not in foreign) or (name == "not_in_store" and item in foreign):
                continue
            leaker = leakers_of(item, args.accounts, args.leakers)[0]
            who = {"unmarked": "plain", "other_mark": "foreign"}.get(name, leaker)
            synthetic = name in ("silence", "white_noise", "pink_noise")
            if synthetic and index >= 5:
                continue                        # not made from items; a few rounds are enough
            label = f"round_{index}" if synthetic else item
            trials = [Trial(label, "-" if synthetic else row["kind"], name, NEGATIVE_CLIP_S, ANY, n, "") for n in range(args.trials)]
            missing = [t for t in trials if t.key not in done]
            if missing:
                tasks.append(Task(args, folders.out, row, name, True, who, None, missing))
    return tasks


def read_trials(path):
    if not path.exists():
        return []
    types = {f.name: f.type for f in fields(Trial)}
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    # A row cut short by a crash has missing cells; it is measured again.
    return [Trial(**{k: types[k](v) for k, v in row.items()}) for row in rows
            if None not in row and None not in row.values()]


def append_trials(path, trials):
    names = [f.name for f in fields(Trial)]
    new = not path.exists()
    if not new:                                 # a file of an older lab has fewer columns
        with open(path, newline="") as f:
            names = next(csv.reader(f))
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, names, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(t) for t in trials)


def run_tasks(tasks, folders, jobs):
    progress = Progress("scanning", sum(len(t.trials) for t in tasks))
    # The main process alone handles Ctrl-C, so that finished rows are kept.
    with multiprocessing.Pool(jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        for trials in pool.imap_unordered(perform, tasks):
            append_trials(folders.trials, trials)
            for trial in trials:
                progress.step(f"({trial.item}, {trial.attack})")


# ---- the report --------------------------------------------------------------------------------------------------------

def counts(trials):
    outcome = [t.outcome for t in trials]
    return {name: outcome.count(name) for name in (RIGHT, WRONG, NO_ACCUSATION, NO_STREAM, ERROR)}


def attack_table(trials, chosen):
    header = ["attack", "clip", "clips", "right account, no other", "another named", "no accusation", "stream not found",
              "error", "scan, median", "goal", "met"]
    both = any(t.position == ANY for t in trials)
    if both:
        header.insert(4, "at any position")
    rows = []
    for attack in chosen:
        for length in sorted({t.clip_s for t in trials if t.attack == attack.name}):
            cell = [t for t in trials if t.attack == attack.name and t.clip_s == length]
            main = [t for t in cell if t.position == SOUNDING]
            anywhere = [t for t in cell if t.position == ANY]
            shown = main or anywhere
            n = counts(shown)
            goal = attack.group.goal if length == attack.group.clip_s else None
            met = "" if goal is None or not main else "yes" if n[RIGHT] >= goal * len(main) else "NOT MET"
            row = [attack.name, f"{length:g} s", len(shown), tables.share(n[RIGHT], len(main)) if main else "–", n[WRONG],
                   n[NO_ACCUSATION], n[NO_STREAM], n[ERROR], f"{statistics.median(t.scan_s for t in shown):.2f} s",
                   f"{goal:.0%}".replace("%", " %") if goal else "", met]
            if both:
                row.insert(4, tables.share(counts(anywhere)[RIGHT], len(anywhere)))
            rows.append(row)
    return tables.markdown(header, rows)


def item_table(trials, rows):
    """Which items are hard: all attacks that have a goal, at their own clip length."""
    groups = {a.name: a.group for a in attacks.ATTACKS.values()}
    names = [g.name for g in attacks.CLASSES.values() if g.goal is not None]
    body = []
    for row in rows:
        cells = [row["item"], row["kind"]]
        for group in names:
            cell = [t for t in trials if t.item == row["item"] and t.position == SOUNDING and t.attack in groups
                    and groups[t.attack].name == group and t.clip_s == groups[t.attack].clip_s]
            cells.append(f"{100 * counts(cell)[RIGHT] / len(cell):.0f} %" if cell else "–")
        body.append(cells)
    header = ["item", "kind"] + [f"{n}, {attacks.CLASSES[n].clip_s:g} s" for n in names]
    return tables.markdown(header, body, "ll" + "r" * len(names))


def negative_rows(trials, negatives):
    """Header and rows."""
    header = ["not a leak", "clips of 60 s", "accusations", "rate, 95 % upper bound", "stream found", "nothing found", "refused", "goal 0 met"]
    rows = []
    for name in negatives:
        cell = [t for t in trials if t.attack == name]
        if not cell:
            continue
        accusations = sum(bool(t.named) for t in cell)
        refused = sum(t.outcome == ERROR for t in cell)
        found = sum(t.outcome != ERROR and t.symbols_used > 0 for t in cell)
        rows.append([name, len(cell), accusations, f"{100 * tables.upper_95(accusations, len(cell)):.2f} %", found,
                     len(cell) - refused - found, refused, "yes" if accusations == 0 else "NOT MET"])
    return header, rows


def report(args, trials, rows, chosen, negatives):
    """The tables of the README; everything in trials.csv that belongs to the attacks and items asked for."""
    names = {row["item"] for row in rows}
    positive = [t for t in trials if t.item in names and t.attack in attacks.ATTACKS and t.outcome != SKIPPED]
    text = []
    if any(t.attack in {a.name for a in chosen} for t in positive):
        text.append(
            f"Set `{args.set}`, {len(rows)} items, {args.accounts} accounts per stream, bound {args.bound:g}, {args.bitrate}b/s Opus, strength {args.strength}, "
            f"{args.leakers} leakers an item. In brackets: 95 % interval (Clopper-Pearson). Clips are cut at uniformly random "
            "places of the attacked copy, of those where at least half of the 20 ms frames are within 40 dB of the item's loud "
            "level (the 95th percentile of its frames' levels): silence cannot carry a name. Scans search all streams of the store.\n")
        text.append(attack_table(positive, chosen) + "\n")
        text.append(item_table(positive, rows) + "\n")
    negative = [t for t in trials if t.attack in NEGATIVES and (t.item in names or t.kind == "-")]
    if negatives and negative:
        text.append(tables.markdown(*negative_rows(negative, negatives)) + "\n")
    # Failed scans count as misses and are not measured again: a flaky scan must show.
    for trial in [t for t in positive + negative if t.error][:10]:
        text.append(f"error: {trial.item}, {trial.attack}, trial {trial.trial}: {trial.error}")
    return "\n".join(text)


# ---- the command -------------------------------------------------------------------------------------------------------

def numbers(text, option="--clip-s"):
    try:
        return [float(v) for v in text.split(",")]
    except ValueError:
        raise LabError(f"{option} wants seconds with commas between, got '{text}'") from None


def choose_items(args):
    rows = corpus.read_manifest(args.set_folder)
    if not args.items:
        return rows
    wanted = args.items.split(",")
    unknown = set(wanted) - {row["item"] for row in rows}
    if unknown:
        raise LabError(f"no item {', '.join(sorted(unknown))} in {args.set_folder}")
    return [row for row in rows if row["item"] in wanted]


def choose_attacks(words):
    """(attacks, negatives). Words: names, classes, goals, negatives, all."""
    chosen, negatives = [], []
    for word in words.split(","):
        if word in ("negatives", "goals", "all"):
            negatives = list(NEGATIVES)
        if word in NEGATIVES:
            negatives.append(word)
        elif word != "negatives":
            chosen += [a for a in attacks.select(word) if a not in chosen]
    return chosen, negatives


def add_parser(commands, common, under_test):
    parser = commands.add_parser(
        "run", parents=[common, under_test], help="how often the right account is named, attack by attack",
        description="Marks all items of a set into one store, attacks the leakers' copies, scans clips of them and prints a Markdown "
                    "table. Every trial goes to trials.csv below --out, attacked copies to attacked/ (about 5 MB a minute and copy); "
                    "a rerun goes on where the last one stopped.",
        epilog="examples:\n  tools/lab run --set heldout                          every attack that has a goal, and the negatives\n"
               "  tools/lab run --set dev --attacks opus_16k,air_gap --clip-s 2,3,5 --trials 20\n"
               "  tools/lab run --set heldout --any-position           adds the column for clips at any place\n"
               "  tools/lab run --set heldout --table-only             prints the tables of what is measured already")
    parser.add_argument("--set", default="heldout", choices=["dev", "heldout", "demo"])
    parser.add_argument("--attacks", default="goals", help="names, classes, goals, negatives or all, with commas between (default: goals)")
    parser.add_argument("--items", help="only these, with commas between")
    parser.add_argument("--clip-s", help="clip lengths in seconds, with commas between (default: that of the attack's goal)")
    parser.add_argument("--trials", type=int, default=8, help="clips per item, attack and length (default: 8)")
    parser.add_argument("--accounts", type=int, default=10000, help="listeners of every stream (default: 10000)")
    parser.add_argument("--leakers", type=int, default=3, help="how many of them leak, per item (default: 3)")
    parser.add_argument("--bitrate", default="32k", help="of the marked streams (default: 32k)")
    parser.add_argument("--strength", default="50", help="of the marks, 1 to 100 (default: 50)")
    parser.add_argument("--bound", type=float, default=1e-6, help="--max-false-accusation of the scans (default: 1e-6)")
    parser.add_argument("--any-position", action="store_true", help="cut clips anywhere, even in silence")
    parser.add_argument("--jobs", type=int, default=2, help="scans and attacks at a time (default: 2)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for store, copies and results (default: lab-out)")
    parser.add_argument("--drop-attacked", action="store_true", help="delete each attacked copy once its clips are scanned")
    parser.add_argument("--on-new-build", choices=["stop", "rescan", "keep"], default="stop",
                        help="what to do with trials of another build of earmark (default: stop)")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, print the tables")
    parser.set_defaults(run=main)


def main(args):
    args.set_folder = args.corpus.resolve() / args.set
    args.out = args.out.resolve()
    args.earmark = Path(args.earmark).resolve()
    args.clip_s = numbers(args.clip_s) if args.clip_s else None
    folders, rows = Folders(args.out), choose_items(args)
    chosen, negatives = choose_attacks(args.attacks)
    if args.leakers > args.accounts or min(args.leakers, args.trials, args.jobs) < 1:
        raise LabError("--leakers, --trials and --jobs must be at least 1, and there cannot be more leakers than accounts")
    if not args.table_only:
        require_tools("ffmpeg", "ffprobe", "opusenc", "opusdec")
        Earmark(args.earmark, folders.store, folders.key)       # says early when there is no such command
        args.out.mkdir(parents=True, exist_ok=True)
        check_settings(args, folders)
        prepare(args, folders, rows, negatives)
        done = {t.key for t in read_trials(folders.trials)}
        tasks = plan(args, folders, rows, chosen, negatives, done)
        if tasks:
            run_tasks(tasks, folders, args.jobs)
        else:
            say("every trial has been measured already")
    text = report(args, read_trials(folders.trials), rows, chosen, negatives)
    if not text:
        raise LabError(f"no trials of these items and attacks in {folders.trials}")
    print(text)
    return 0
