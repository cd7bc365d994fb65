"""Tables in Markdown, and the interval that goes with a share."""
from scipy.stats import beta


def interval_95(hits, total):
    """Clopper-Pearson: exact, so never narrower than 95 %."""
    if total == 0:
        return 0.0, 1.0
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, total - hits + 1))
    high = 1.0 if hits == total else float(beta.ppf(0.975, hits + 1, total - hits))
    return low, high


def upper_95(hits, total):
    """One-sided: with 95 % confidence the true rate is no higher."""
    return 1.0 if hits == total else float(beta.ppf(0.95, hits + 1, total - hits))


def share(hits, total):
    if total == 0:
        return "–"
    low, high = interval_95(hits, total)
    return f"{100 * hits / total:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def markdown(header, rows, align=None):
    """A table with padded cells. align: one of l or r per column, r by default but for the first."""
    align = align or "l" + "r" * (len(header) - 1)
    cells = [[str(c) for c in row] for row in [header] + rows]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row):
        padded = [c.ljust(w) if a == "l" else c.rjust(w) for c, w, a in zip(row, widths, align)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + ("-" if a == "l" else ":") for w, a in zip(widths, align)) + "|"
    return "\n".join([line(cells[0]), rule] + [line(row) for row in cells[1:]])


def plain(header, rows):
    """A table whose source has no padding, so that one figure is one cell's change. The first column is text, the others are to the right."""
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in [header, *rows]]
    return "\n".join([lines[0], "|---|" + "--:|" * (len(header) - 1), *lines[1:]])
