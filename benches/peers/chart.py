#!/usr/bin/env python3
"""Draws measurements of engines as bars, an SVG picture. Needs Python alone.

    benches/peers/chart.py docs/speed.md docs/pictures/speed.svg     the first table of a document, one thread
    benches/peers/inference --chart FILE                             what was measured just now, one thread
"""

import sys
from html import escape
from pathlib import Path

WIDTH, NAMES, GAP, BAR = 760, 230, 14, 16
# Of Okabe and Ito, told apart with every kind of colour vision; ours stands out.
OURS, OTHERS = "#0072B2", "#B0B7BF"


def chart(title: str, groups: list[tuple[str, list[tuple[str, float]]]]) -> str:
    """A picture of groups of bars: each has a caption, and names with milliseconds, the shorter the better."""
    most = max(value for _, bars in groups for _, value in bars)
    scale = (WIDTH - NAMES - 70) / most
    parts, y = [f'<text x="0" y="18" font-size="16" font-weight="bold">{escape(title)}</text>'], 34
    for caption, bars in groups:
        y += 18
        parts.append(f'<text x="0" y="{y}" font-size="14" font-weight="bold">{escape(caption)}</text>')
        y += 8
        for name, value in bars:
            ours = name.startswith("infer-core")
            parts.append(f'<text x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
            colour = OURS if ours else OTHERS
            parts.append(f'<rect x="{NAMES}" y="{y}" width="{value * scale:.1f}" height="{BAR}" fill="{colour}"/>')
            parts.append(f'<text x="{NAMES + value * scale + 6:.1f}" y="{y + 13}">{value:.1f} ms</text>')
            y += BAR + 5
        y += GAP
    style = (
        "text{font:13px sans-serif;fill:#1a1a1a}@media (prefers-color-scheme:dark){text{fill:#ddd}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" style="width:100%;max-width:{WIDTH}px">\n'
        f"<style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def table(document: str) -> list[list[str]]:
    """The cells of a document's first table, without the line below its head."""
    lines = iter(document.splitlines())
    rows = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip().strip("*") for cell in line.strip("|").split("|")])
        elif rows:
            break
    return [rows[0], *rows[2:]]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    head, *rows = table(Path(sys.argv[1]).read_text())
    # "1 thread, batch 1", 8, 32, then the same for two threads.
    columns = [(1, "batch 1"), (3, f"batch {head[3]}")]
    groups = [(caption, [(row[0], float(row[column])) for row in rows]) for column, caption in columns]
    Path(sys.argv[2]).write_text(chart("Milliseconds an image, AlexNet in f32, one thread", groups))


if __name__ == "__main__":
    main()
