"""The Markdown page of an acceptance."""


def table(titles, rows):
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value):
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}"
    return str(value).replace("|", "/").replace("\n", " ")


def pairs(figures):
    """Plain figures of a part, in one table."""
    plain = {key: value for key, value in figures.items() if not isinstance(value, (dict, list))}
    return table(("", ""), [(key.replace("_", " "), value) for key, value in plain.items()])


def environment(figures):
    rows = [tuple(gpu.values()) for gpu in figures.get("gpus", [])]
    return pairs(figures) + ("\n" + table(figures["gpus"][0].keys(), rows) if rows else "")


def tests(figures):
    rows = [(name, test["status"], test["passed"], test["skipped"], ", ".join(test["failed"]), test["seconds"])
            for name, test in figures.items()]
    return table(("program", "status", "passed", "skipped", "failed", "seconds"), rows)


def thousandth(value):
    return None if value is None else value / 1000


def bench(figures):
    peak = figures["peak"]
    whose = "our own" if "own products" in figures["numerics"] else "cuBLASLt's"
    text = (f"{figures['numerics']}. Products are {whose}: {cell(thousandth(peak['gflops_per_s']))} TFLOP/s ({peak['gflops_of']}); "
            f"memory: {cell(peak['gb_per_s'])} GB/s ({peak['gb_of']}). Linear operations and the classifier are "
            "products; the others are our own kernels.\n\n")
    text += table(("shape", "operation", "pass", "ms", "TFLOP/s", "% of the largest product's", "GB/s", "% of the copy's"),
                  [(row["shape"], row["operation"], row["pass"], row["best_ms"], thousandth(row["gflops_per_s"]),
                    row["peak_percent"], row["gb_per_s"], row["memory_percent"]) for row in figures["operations"]])
    return text + "\n" + table(("shape", "tokens/s of training steps", "median", "TFLOP/s", "% of the largest product's"),
                               [(row["shape"], row["tokens_per_s"], row["median_tokens_per_s"],
                                 thousandth(row["gflops_per_s"]), row["peak_percent"]) for row in figures["steps"]])


def attention(figures, benches):
    """PyTorch's beside ours, where both were measured."""
    def ours(row, direction):
        wanted = (row["shape"], "attention dense", direction)
        for operation in benches.get(row["precision"], {}).get("operations", []):
            if (operation["shape"], operation["operation"], operation["pass"]) == wanted:
                return operation["best_ms"]
        return None
    rows = [(row["shape"], row["precision"], direction, row[f"{direction}_ms"], ours(row, direction))
            for row in figures["rows"] for direction in ("forward", "backward")]
    titles = ("shape", "precision", "pass", "PyTorch", "minichilla")
    return f"PyTorch {figures['torch']}, milliseconds.\n\n" + table(titles, rows)


def section(part, benches):
    text = f"\n## {part['name']}: {part['status']}\n\n"
    if part["reason"]:
        text += part["reason"] + "\n\n"
    figures, kind = part["figures"], part["name"].split(" ")[0]
    if not figures:
        return text
    if kind == "attention":
        return text + attention(figures, benches)
    return text + {"environment": environment, "tests": tests, "bench": bench}.get(kind, pairs)(figures)


def markdown(report):
    parts = report["parts"]
    benches = {part["name"].split(" ")[1]: part["figures"] for part in parts if part["name"].startswith("bench ")}
    text = f"# minichilla on a GPU: {report['status']}\n\n{report['began']}, {report['seconds']:.0f} s in all.\n\n"
    text += table(("part", "status", "seconds", "reason"),
                  [(part["name"], part["status"], part["seconds"], part["reason"]) for part in parts])
    return text + "".join(section(part, benches) for part in parts)
