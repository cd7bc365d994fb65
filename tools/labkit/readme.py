"""tools/lab tables: the README's tables of a run, out of its trials.csv.

In the README each stands between <!-- lab:NAME --> and <!-- /lab -->. The text around them is written by hand: look at it
whenever figures change.
"""
import difflib
import re
import sys
from pathlib import Path

from . import attacks, tables
from .common import DEFAULT_OUT, LabError, say
from .run import ERROR, NEGATIVES, NO_ACCUSATION, NO_STREAM, RIGHT, SKIPPED, SOUNDING, WRONG, counts, negative_rows, read_trials


def goals(trials):
    """Every attack that has a goal, at its clip length. What the text says never happened has a column as soon as it did."""
    rows, rare = [], {"another named": WRONG, "error": ERROR}
    for attack in attacks.select("goals"):
        cell = [t for t in trials if t.attack == attack.name and t.clip_s == attack.group.clip_s and t.position == SOUNDING
                and t.outcome != SKIPPED]
        if not cell:
            continue
        n = counts(cell)
        met = "" if n[RIGHT] >= attack.group.goal * len(cell) else ", **not met**"
        rows.append([attack.name, f"{attack.group.clip_s:g} s", len(cell), tables.share(n[RIGHT], len(cell)), n[NO_ACCUSATION], n[NO_STREAM],
                     f"{100 * attack.group.goal:.0f} %{met}", n])
    header = ["attack", "clip", "clips", "right account, no other", "no accusation", "stream not found", "goal"]
    happened = {title: outcome for title, outcome in rare.items() if any(row[-1][outcome] for row in rows)}
    return tables.plain(header + list(happened), [row[:-1] + [row[-1][outcome] for outcome in happened.values()] for row in rows])


def negatives(trials):
    return tables.plain(*negative_rows(trials, NEGATIVES))


TABLES = {"goals": goals, "negatives": negatives}


def replaced(text, made):
    """The page with the tables in it. Every marker must be there once, and be one that is known."""
    for name in made:
        if text.count(f"<!-- lab:{name} -->\n") != 1:
            raise LabError(f"wanted one line <!-- lab:{name} --> with the end <!-- /lab -->, got {text.count(f'<!-- lab:{name} -->')}")
    for name, table in made.items():
        text, num_places = re.subn(rf"(<!-- lab:{name} -->\n)(?:(?!<!-- lab:).)*?(<!-- /lab -->)",
                                   lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text, flags=re.DOTALL)
        if num_places != 1:
            raise LabError(f"<!-- lab:{name} --> has no end <!-- /lab -->")
    return text


def add_parser(commands):
    parser = commands.add_parser(
        "tables", help="the README's tables, out of a run's results",
        description="Prints the README's tables of what `tools/lab run` measured, or compares a page with them, or puts them into it.",
        epilog="examples:\n  tools/lab tables --out lab-out\n  tools/lab tables --out lab-out --check README.md\n"
               "  tools/lab tables --out lab-out --write README.md")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the run (default: lab-out)")
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--check", type=Path, metavar="PAGE", help="say where the page differs; status 1 if it does")
    page.add_argument("--write", type=Path, metavar="PAGE", help="replace the page's tables")
    parser.set_defaults(run=main)


def main(args):
    path = args.out / "trials.csv"
    if not path.exists():
        raise LabError(f"{path}: no such file; tools/lab run makes it")
    trials = read_trials(path)
    made = {name: make(trials) for name, make in TABLES.items()}
    page = args.check or args.write
    if not page:
        print("\n\n".join(made.values()))
        return 0
    try:
        text = page.read_text(encoding="utf-8")
        new = replaced(text, made)
        if args.write and new != text:
            page.write_text(new, encoding="utf-8")
    except OSError as error:
        raise LabError(f"{page}: {error.strerror}") from error
    if new == text:
        say(f"{page} says what {path} holds")
    elif args.write:
        say(f"{page}: tables replaced")
    else:
        sys.stdout.writelines(difflib.unified_diff(text.splitlines(True), new.splitlines(True), str(page), str(path), n=0))
    return 1 if args.check and new != text else 0
