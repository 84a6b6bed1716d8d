"""Tables that scripts write into docs/kernels.md, each between two comments with its name."""
import pathlib
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "kernels.md"


def table(heads, rows, left):
    """Markdown; all columns but the first `left` are aligned to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def put(name, text, check=False):
    """Writes the table; with `check` only fails where the page has another one."""
    begin, end = f"<!-- {name} begins -->\n", f"\n<!-- {name} ends -->"
    page = PAGE.read_text()
    if page.count(begin) != 1 or page.count(end) != 1:
        sys.exit(f"{PAGE}: expected one {begin.strip()} and one {end.strip()}")
    before, rest = page.split(begin)
    found, after = rest.split(end)
    if check and found != text:
        differing = [line for line in text.splitlines() if line not in found.splitlines()]
        sys.exit(f"{PAGE}: the table {name} is another one now (run the script without --check):\n"
                 + "\n".join(differing))
    PAGE.write_text(before + begin + text + end + after)
