"""tools/lab packets: what marking a speaker's own Opus packets costs the listener, and what evidence it gives.

A relay gets packets and may pass them on. So sources are Opus files made from the items with an encoder's own settings, and
a copy is held against its source passed on: grades lost (PEAQ against the recording), packets of the same size, and how often
clips of a copy name its account. "re-encoded" decodes the source and encodes it again; "strength N" and "default" change bits
inside the source's packets.
"""
import hashlib
import json
import math
import os
import re
import shutil
import statistics
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from . import attacks, audio, corpus, ogg, quality, run, tables
from .common import DEFAULT_OUT, LabError, Progress, require_tools, say
from .earmark import Earmark, write_accounts
from .quality import ADVANCED, BASIC, Measurements, mean

PASSED_ON = "passed on"
ATTACKS = "none,aac_64k,opus_16k,white_10db,voice_0db,air_gap"
GRADES, EVIDENCE = "grades", "evidence"


@dataclass(frozen=True)
class Source:
    """An encoder's settings, written like audio64: application and kb/s."""
    name: str
    application: str
    kbps: int

    @staticmethod
    def parse(word):
        found = re.fullmatch(r"(audio|voip|lowdelay)(\d+)", word)
        if not found or not 6 <= int(found[2]) <= 510:
            raise LabError(f"--sources wants words like audio64 or voip32 (audio, voip or lowdelay, and 6 to 510 kb/s), got '{word}'")
        return Source(word, found[1], int(found[2]))

    def encode(self, wav, target):
        attacks.ffmpeg("-i", wav, "-map_metadata", -1, "-c:a", "libopus", "-b:a", f"{self.kbps}k", "-application", self.application,
                       "-vbr", "on", "-frame_duration", 20, target)


@dataclass(frozen=True)
class Mark:
    name: str
    options: tuple              # of `earmark mark`


class Setting:
    """A source and a mark: their own store, copies, grades and trials, laid out as run.Folders says."""

    def __init__(self, args, source, mark):
        self.source, self.mark = source, mark
        self.sources = args.out / source.name / "sources"
        self.folders = run.Folders(args.out / source.name / mark.name.replace(" ", "-"))
        # run's functions take their settings from the arguments of `tools/lab run`.
        self.args = Namespace(**{**vars(args), "out": self.folders.out, "bitrate": f"{source.name}, {mark.name}", "strength": "of the mark", "leakers": args.copies,
                                 "clip_s": args.clip_s, "any_position": False, "drop_attacked": False})

    def source_file(self, item):
        return self.sources / f"{item}.opus"

    def copy_file(self, item, account):
        return self.folders.copy(item, account).with_suffix(".opus")

    def accounts(self, item):
        return run.leakers_of(item, self.args.accounts, self.args.copies)

    def grades(self):
        return Measurements(self.folders.out / "quality.csv")

    def passed_on(self):
        return Measurements(self.sources / "quality.csv")

    def trials(self, rows):
        names = {row["item"] for row in rows}
        return [t for t in run.read_trials(self.folders.trials) if t.item in names and t.outcome != run.SKIPPED]


# ---- preparing: sources and copies -------------------------------------------------------------------------------------

def make_sources(args, source, rows):
    for row in rows:
        target = args.out / source.name / "sources" / f"{row['item']}.opus"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"partial-{target.name}")
            source.encode(args.set_folder / row["file"], partial)
            partial.rename(target)


def check_build(setting):
    """A new build marks in another way: its copies, grades and trials are made anew, or not mixed in."""
    folders, args = setting.folders, setting.args
    if args.on_new_build == "again" and folders.settings.exists():
        before = json.loads(folders.settings.read_text())
        if before["build"] != hashlib.sha256(args.earmark.read_bytes()).hexdigest()[:16]:
            shutil.rmtree(folders.out)
    folders.out.mkdir(parents=True, exist_ok=True)
    try:
        run.check_settings(args, folders)
    except LabError as error:
        raise LabError(str(error).replace("rescan (same copies and store, new scans)", "again (everything anew)")) from None


def make_copies(setting, rows):
    """Marks one after another, one writer a store. The WAV is what attacks start from, decoded as the grader decodes."""
    earmark = Earmark(setting.args.earmark, setting.folders.store, setting.folders.key)
    for row in rows:
        item = row["item"]
        listeners = write_accounts(setting.folders.accounts(item), setting.args.accounts, item)
        for account in setting.accounts(item):
            copy, wav = setting.copy_file(item, account), setting.folders.copy(item, account)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                partial = copy.with_name(f"partial-{copy.name}")
                earmark.mark(setting.source_file(item), item, listeners, account, partial, *setting.mark.options)
                partial.rename(copy)
            if not wav.exists():
                partial = wav.with_name(f"partial-{wav.name}")
                audio.write_wav(partial, quality.decode_copy(copy, int(row["channels"])))
                partial.rename(wav)


# ---- measuring ---------------------------------------------------------------------------------------------------------

def grade(args, source, settings, rows):
    """Grades of the source passed on, and of every copy; each in the CSV of its own folder."""
    sources = args.out / source.name / "sources"
    quality.measure(args, rows, Measurements(sources / "quality.csv"),
                    lambda _, row: [(PASSED_ON, source.name, "source", sources / f"{row['item']}.opus")])
    for setting in settings:
        quality.measure(args, rows, setting.grades(), lambda _, row, s=setting: [
            (s.mark.name, source.name, account, s.copy_file(row["item"], account)) for account in s.accounts(row["item"])])


def gather_evidence(setting, rows, chosen):
    done = {t.key for t in run.read_trials(setting.folders.trials)}
    tasks = run.plan(setting.args, setting.folders, rows, chosen, [], done)
    if tasks:
        say(f"{setting.source.name}, {setting.mark.name}")
        run.run_tasks(tasks, setting.folders, setting.args.jobs)


def packet_sizes(setting, rows):
    """(copies, copies whose packets are as many and as long as the source's, packets, packets that were changed)."""
    copies = same = packets = changed = 0
    for row in rows:
        source = ogg.read_packets(setting.source_file(row["item"]))[0][2:]
        for account in setting.accounts(row["item"]):
            path = setting.copy_file(row["item"], account)
            if not path.exists():
                continue
            copy = ogg.read_packets(path)[0][2:]
            copies += 1
            same += [len(p) for p in copy] == [len(p) for p in source]
            packets += len(source)
            changed += sum(a != b for a, b in zip(source, copy))
    return copies, same, packets, changed


# ---- the report --------------------------------------------------------------------------------------------------------

def item_grades(setting, item, model):
    """(passed on, mean of the copies) or None."""
    before = setting.passed_on().grades(item, PASSED_ON, setting.source.name, model)
    after = setting.grades().grades(item, setting.mark.name, setting.source.name, model)
    return (mean(before), mean(after)) if before and after else None


def both(values, show=quality.cell):
    return " / ".join(show(v) for v in values)


def lost(setting, rows):
    """{model: [grade of the copies less that of the source, by item]}"""
    found = {model: [item_grades(setting, row["item"], model) for row in rows] for model in (BASIC, ADVANCED)}
    return {model: [after - before for before, after in filter(None, pairs)] for model, pairs in found.items()}


def average(values):
    return mean(values) if values else None


def worst(values):
    return min(values) if values else None


def setting_table(settings, rows):
    header = ["source", "copy", "passed on", "copy's grade", "lost, mean", "lost, worst item", "packets as long as the source's", "packets changed"]
    body = []
    for setting in settings:
        pairs = {m: [p for p in (item_grades(setting, row["item"], m) for row in rows) if p] for m in (BASIC, ADVANCED)}
        losses = lost(setting, rows)
        copies, same, packets, changed = packet_sizes(setting, rows)
        body.append([setting.source.name, setting.mark.name,
                     both(average([before for before, _ in pairs[m]]) for m in (BASIC, ADVANCED)),
                     both(average([after for _, after in pairs[m]]) for m in (BASIC, ADVANCED)),
                     both(average(losses[m]) for m in (BASIC, ADVANCED)), both(worst(losses[m]) for m in (BASIC, ADVANCED)),
                     f"{same} of {copies} copies", f"{100 * changed / packets:.0f} %" if packets else "–"])
    return tables.markdown(header, body, "llrrrrrr")


def item_table(settings, rows):
    """One source: every item's grade passed on, and of the copies."""
    header = ["item", "kind", "passed on"] + [s.mark.name for s in settings]
    body = []
    for row in rows:
        before = [settings[0].passed_on().grades(row["item"], PASSED_ON, settings[0].source.name, m) for m in (BASIC, ADVANCED)]
        cells = [row["item"], row["kind"], both(average(b) for b in before)]
        for setting in settings:
            pairs = [item_grades(setting, row["item"], m) for m in (BASIC, ADVANCED)]
            cells.append(both(p[1] if p else None for p in pairs))
        body.append(cells)
    return tables.markdown(header, body, "ll" + "r" * (len(header) - 2))


def digits_per_second(trials):
    """Median of -log10 p by second of clip. Accounts not named have no p and count as lowest: None if they are half or more."""
    digits = [-float(t.log10_p) / t.clip_s if t.outcome == run.RIGHT else 0.0 for t in trials]
    return (statistics.median_low(digits) or None) if digits else None


def evidence_table(settings, rows, chosen, lengths):
    header = ["source", "copy", "attack"] + [f"named, {length:g} s" for length in lengths] + ["clips", "wrong", "errors", "digits/s, median"]
    body = []
    for setting in settings:
        trials = setting.trials(rows)
        for attack in chosen:
            mine = [t for t in trials if t.attack == attack.name and t.clip_s in lengths]
            if not mine:
                continue
            n = run.counts(mine)
            shares = []
            for length in lengths:
                cell = [t for t in mine if t.clip_s == length]
                shares.append(f"{100 * run.counts(cell)[run.RIGHT] / len(cell):.0f} %" if cell else "–")
            digits = digits_per_second([t for t in mine if t.clip_s == max(lengths)])
            body.append([setting.source.name, setting.mark.name, attack.name, *shares, len(mine), n[run.WRONG], n[run.ERROR],
                         f"{digits:.1f}" if digits else "–"])
    return tables.markdown(header, body, "lll" + "r" * (len(header) - 3))


def seconds_to_name(trials, lengths, bound):
    """Seconds in which half of the clips name, by the digits of the longest clips; trials compared are log10_bound - log10_p."""
    longest = [t for t in trials if t.clip_s == max(lengths)]
    named = [t for t in longest if t.outcome == run.RIGHT]
    digits = digits_per_second(longest)
    if not longest:
        return "–"
    if not digits:
        return f"> {max(lengths):g} s"
    needed = statistics.median(float(t.log10_bound) - float(t.log10_p) for t in named) - math.log10(bound)
    return f"{needed / digits:.1f} s"


def curve_table(settings, rows, chosen, lengths, bound):
    header = ["source", "copy", "ODG lost, mean"] + [a.name for a in chosen]
    body = []
    for setting in settings:
        trials, losses = setting.trials(rows), lost(setting, rows)
        body.append([setting.source.name, setting.mark.name, both(average(losses[m]) for m in (BASIC, ADVANCED))] +
                    [seconds_to_name([t for t in trials if t.attack == a.name], lengths, bound) for a in chosen])
    return tables.markdown(header, body, "ll" + "r" * (len(header) - 2))


def report(args, settings, rows, chosen):
    lengths = args.clip_s
    print(f"Set `{args.set}`, {len(rows)} items, {args.copies} copies of each, {args.accounts} accounts per stream. ODG basic / advanced against "
          f"the recording; what is lost is the copy's grade less that of the source's packets passed on.\n\n{setting_table(settings, rows)}\n")
    for source in args.source_list:
        print(f"Source {source.name}\n\n{item_table([s for s in settings if s.source == source], rows)}\n")
    if args.only != GRADES:
        print(f"Clips that name the right account and no other; bound {args.bound:g}. Digits a second: -log10 p of the account over the clip's "
              f"seconds, in clips of {max(lengths):g} s.\n\n{evidence_table(settings, rows, chosen, lengths)}\n")
        print("ODG lost, and seconds in which half of the clips name, from the digits a second.\n\n"
              f"{curve_table(settings, rows, chosen, lengths, args.bound)}")
    for setting in settings:
        for trial in [t for t in setting.trials(rows) if t.error][:3]:
            print(f"error: {setting.source.name}, {setting.mark.name}, {trial.item}, {trial.attack}, trial {trial.trial}: {trial.error}")


# ---- the command -------------------------------------------------------------------------------------------------------

def marks_for(args, source):
    kbps = source.kbps if args.reencode is None else args.reencode // 1000
    marks = [] if kbps == 0 else [Mark(f"re-encoded {kbps}k", ("--bitrate", f"{kbps}k"))]
    for word in args.strengths.split(",") if args.strengths else []:
        if word == "default":
            marks.append(Mark("default", ()))
        elif word.isdigit() and 1 <= int(word) <= 100:
            marks.append(Mark(f"strength {word}", ("--strength", word)))
        elif word != "none":
            raise LabError(f"--strengths wants numbers from 1 to 100, default or none, with commas between, got '{word}'")
    if not marks:
        raise LabError("nothing to measure: --reencode 0 and no strengths")
    return marks


def quick(args, rows):
    """A small run: an item of each kind, one copy, two attacks, one length."""
    args.copies, args.trials, args.attacks, args.clip_s = 1, 2, "none,aac_64k", [5.0]
    kinds = {}
    for row in rows:
        kinds.setdefault(row["kind"], row)
    return list(kinds.values())


def add_parser(commands, common, under_test):
    parser = commands.add_parser(
        "packets", parents=[common, under_test], help="marks inside a speaker's own packets: grades lost and evidence (needs a PEAQ program)",
        description="Encodes every item to Opus as a speaker would, marks those files, grades them and their source passed on with PEAQ, "
                    "scans clips of attacked copies and prints Markdown tables. Grades and trials are kept below --out, one folder for each "
                    "source and mark; a rerun measures what is missing.",
        epilog="examples:\n  tools/lab packets --peaq ~/bin/peaq --quick\n"
               "  tools/lab packets --peaq ~/bin/peaq --set dev-fullband --sources audio64 --strengths 30,50,100\n"
               "  tools/lab packets --strengths none --reencode 64000 --only evidence --lengths 2,3")
    parser.add_argument("--set", default="heldout-fullband", choices=corpus.SETS, help="(default: heldout-fullband)")
    parser.add_argument("--items", help="only these, with commas between")
    parser.add_argument("--sources", default="audio64", help="application and kb/s, such as audio64,voip32,audio32 (default: audio64)")
    parser.add_argument("--strengths", default="default", help="--strength of the marks, with commas between; default: without the option; "
                                                               "none: only re-encoded (default: default)")
    parser.add_argument("--reencode", type=int, help="bits a second of the re-encoded copies; 0: none of them (default: the source's)")
    parser.add_argument("--attacks", default=ATTACKS, help=f"names or classes, with commas between (default: {ATTACKS})")
    parser.add_argument("--lengths", default="2,3,5,10", help="of clips in seconds, with commas between (default: 2,3,5,10)")
    parser.add_argument("--trials", type=int, default=4, help="clips per item, attack and length (default: 4)")
    parser.add_argument("--copies", type=int, default=2, help="listeners' copies of each item (default: 2)")
    parser.add_argument("--accounts", type=int, default=10000, help="listeners of every stream (default: 10000)")
    parser.add_argument("--bound", type=float, default=1e-6, help="--max-false-accusation of the scans (default: 1e-6)")
    parser.add_argument("--peaq", default=os.environ.get("PEAQ"), help="the PEAQ program, with options if it needs any (default: $PEAQ)")
    parser.add_argument("--only", choices=[GRADES, EVIDENCE], help="measure one of the two (default: both)")
    parser.add_argument("--quick", action="store_true", help="an item of each kind, one copy, clean and AAC, clips of 5 s, two of each")
    parser.add_argument("--jobs", type=int, default=2, help="gradings and scans at a time (default: 2)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder for copies and results (default: lab-out)")
    parser.add_argument("--on-new-build", choices=["stop", "again", "keep"], default="stop",
                        help="what to do with results of another build of earmark (default: stop)")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, print the tables")
    parser.set_defaults(run=main)


def main(args):
    args.set_folder, args.earmark = args.corpus.resolve() / args.set, Path(args.earmark).resolve()
    args.source_list = [Source.parse(word) for word in args.sources.split(",")]
    args.clip_s = run.numbers(args.lengths, "--lengths")
    rows = run.choose_items(args)
    if args.quick:
        rows = quick(args, rows)
    args.out = args.out.resolve() / f"packets-{args.set}{'-quick' if args.quick else ''}"
    chosen = attacks.select(args.attacks)
    if min(args.copies, args.trials, args.jobs) < 1 or args.copies > args.accounts:
        raise LabError("--copies, --trials and --jobs must be at least 1, and there cannot be more copies than accounts")
    settings = [Setting(args, source, mark) for source in args.source_list for mark in marks_for(args, source)]
    if not args.table_only:
        require_tools("ffmpeg", "ffprobe", "opusenc", "opusdec")
        if args.only != EVIDENCE:
            args.peaq_command = quality.peaq_command(args)
        for source in args.source_list:
            make_sources(args, source, rows)
        progress = Progress("marking", len(settings))
        for setting in settings:
            Earmark(args.earmark, setting.folders.store, setting.folders.key)       # says early when there is no such command
            check_build(setting)
            make_copies(setting, rows)
            progress.step(f"({setting.source.name}, {setting.mark.name})")
        if args.only != EVIDENCE:
            for source in args.source_list:
                grade(args, source, [s for s in settings if s.source == source], rows)
        if args.only != GRADES:
            for setting in settings:
                gather_evidence(setting, rows, chosen)
    report(args, settings, rows, chosen)
    return 0
