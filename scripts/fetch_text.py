#!/usr/bin/env python3
"""Fetch real English text from Debian packages: `fetch_text.py OUT [--size quick|medium]`.

quick   13.0 MB of prose: six novels by Jane Austen, the World English Bible, Matthew Henry's Concise Commentary
medium  48.6 MB: the same and three dictionaries (GNU Collaborative International Dictionary of English, Free On-line
        Dictionary of Computing, Jargon File)

Every package becomes OUT/<package>.txt, with blank lines between paragraphs; OUT/SOURCES.tsv says where each text comes
from. Nothing is installed and root is not needed. A package must have the SHA-256 that the signed package lists give,
and its text must look like English prose of the expected size. A second run finds the texts there and does nothing.
Needs Debian or Ubuntu with package lists (apt-get update), and Python 3.9 or newer with its standard library.
"""

import argparse
import csv
import gzip
import hashlib
import html
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from typing import Callable, NamedTuple, Optional


class FetchError(Exception):
    """Something that the user can do something about, in one line."""


# --- What a package holds -------------------------------------------------------------------------------------------


def one_file(root: pathlib.Path, pattern: str) -> pathlib.Path:
    """The only file below `root` that matches a glob pattern."""
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"{pattern}: found {len(found)} such files in the package, expected one")
    return found[0]


def r_string_vector(serialized: bytes) -> list[str]:
    """The strings of a character vector in R's binary serialization (R Internals, section 1.8)."""
    if serialized[:2] != b"X\n":
        raise FetchError("found another R serialization than XDR")
    (version,) = struct.unpack_from(">i", serialized, 2)
    position = 14  # behind the format, its version and two versions of R
    if version >= 3:  # the native encoding follows
        (size,) = struct.unpack_from(">i", serialized, position)
        position += 4 + size
    kind, count = struct.unpack_from(">Ii", serialized, position)
    position += 8
    if kind & 0xFF != 16:
        raise FetchError(f"found R type {kind & 0xFF}, expected a character vector (16)")
    strings = []
    for _ in range(count):
        flags, size = struct.unpack_from(">Ii", serialized, position)
        position += 8
        if flags & 0xFF != 9:
            raise FetchError(f"found R type {flags & 0xFF} in a character vector, expected a string (9)")
        strings.append(serialized[position : position + max(size, 0)].decode("utf-8"))
        position += max(size, 0)  # a missing string has size -1
    return strings


def r_database_texts(root: pathlib.Path) -> list[str]:
    """The novels: one character vector of lines each, zlib streams one after the other with their length before."""
    database = one_file(root, "usr/lib/R/site-library/*/data/Rdata.rdb").read_bytes()
    texts = []
    position = 0
    while position + 4 < len(database):
        stream = zlib.decompressobj()
        serialized = stream.decompress(database[position + 4 :])
        if len(serialized) != struct.unpack_from(">I", database, position)[0]:
            raise FetchError("Rdata.rdb: found a record of another length than it says")
        texts.append("\n".join(r_string_vector(serialized)).strip())
        position = len(database) - len(stream.unused_data)
    return sorted(texts)


_DROPPED_ELEMENT = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
_TAG = re.compile(r"</?([A-Za-z]+)[^>]*>")
_BREAK_OF_TAG = {"div": "\n\n", "p": "\n\n", "lg": "\n", "l": "\n", "lb": "\n", "item": "\n", "row": "\n", "cell": " "}


def osis_to_text(markup: str) -> str:
    """Plain text of OSIS markup: notes and headings go, paragraphs part at blank lines, verses of poems at line ends."""
    text = re.sub(r"\s+", " ", markup.replace("\0", " "))
    text = _DROPPED_ELEMENT.sub("", text)
    text = _TAG.sub(lambda tag: _BREAK_OF_TAG.get(tag[1].lower(), ""), text)
    text = re.sub(r"[ \t]+", " ", html.unescape(text))
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def sword_texts(root: pathlib.Path) -> list[str]:
    """The books of a SWORD module: zlib blocks (.bzz) that an index (.bzs) of offset, size and full size points to."""
    texts = []
    for testament in ("ot", "nt"):
        index = one_file(root, f"usr/share/sword/modules/**/{testament}.bzs").read_bytes()
        blocks = one_file(root, f"usr/share/sword/modules/**/{testament}.bzz").read_bytes()
        for offset, size, full_size in struct.iter_unpack("<III", index):
            if size == 0:
                continue
            markup = zlib.decompress(blocks[offset : offset + size])
            if len(markup) != full_size:
                raise FetchError(f"{testament}.bzz: found a block of another length than its index says")
            text = osis_to_text(markup.decode("utf-8"))
            if len(text) > 200:  # shorter ones are the empty front matter
                texts.append(text)
    return texts


def dictd_number(digits: str) -> int:
    """A number of a dictd index: base 64 with the digits of RFC 4648, most significant first."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value = 0
    for digit in digits:
        value = 64 * value + alphabet.index(digit)
    return value


def dictd_texts(root: pathlib.Path) -> list[str]:
    """The articles of a dictd dictionary in their order, without markup, source tags and pronunciations."""
    articles = gzip.decompress(one_file(root, "usr/share/dictd/*.dict.dz").read_bytes())
    places = set()
    for line in one_file(root, "usr/share/dictd/*.index").read_text("utf-8").splitlines():
        headword, offset, size = line.split("\t")
        if not headword.startswith(("00-database", "00database")):  # the dictionary's own papers
            places.add((dictd_number(offset), dictd_number(size)))
    texts = []
    for offset, size in sorted(places):
        try:
            text = articles[offset : offset + size].decode("utf-8")
        except UnicodeDecodeError:
            continue  # a few articles of GCIDE are in other encodings
        text = re.sub(r"\s*\[(?:1913 Webster|Webster 1913|WordNet|Century Dict|PJC|RP)[^\]]*\]", "", text)
        text = re.sub(r" ?\\[^\\\n]{1,80}\\", "", text)  # \Pro*nun`ci*a"tion\
        text = re.sub(r"[{}]", "", text)  # {cross-reference}
        text = re.sub(r"[ \t]+", " ", re.sub(r"\n[ \t]+", "\n", text))
        text = re.sub(r"\n{2,}", "\n", text).strip()
        if len(text) > 20:
            texts.append(text)
    return texts


class Source(NamedTuple):
    """One package: what its text is, under which licence, how large it is, and how to read it."""

    package: str
    title: str
    licence: str
    megabytes: float
    read: Callable[[pathlib.Path], list[str]]


QUICK = (
    Source("r-cran-janeaustenr", "Jane Austen: six novels", "public domain (packaging MIT)", 4.03, r_database_texts),
    Source("sword-text-web", "World English Bible, text without notes and headings", "public domain", 5.0, sword_texts),
    Source("sword-comm-mhcc", "Matthew Henry: Concise Commentary", "public domain", 3.9, sword_texts),
)
MEDIUM = QUICK + (
    Source("dict-gcide", "GNU Collaborative International Dictionary of English", "GPL-2+", 29.3, dictd_texts),
    Source("dict-foldoc", "Free On-line Dictionary of Computing", "GFDL-1.1+", 5.1, dictd_texts),
    Source("dict-jargon", "The Jargon File", "public domain", 1.3, dictd_texts),
)
SIZES = {"quick": QUICK, "medium": MEDIUM}

# --- Getting and checking it ----------------------------------------------------------------------------------------


def run(*command: str, cwd: Optional[pathlib.Path] = None) -> str:
    """A command's standard output."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise FetchError(f"{' '.join(command)}: {lines[-1]}")
    return result.stdout


def expected_sha256(package: str, version: str) -> str:
    """SHA-256 of a package by the package lists, which apt checked against the archive's signature."""
    found = re.search(r"^SHA256: ([0-9a-f]{64})$", run("apt-cache", "show", f"{package}={version}"), re.MULTILINE)
    if not found:
        raise FetchError(f"{package} {version}: the package lists have no SHA-256 for it")
    return found[1]


def download(package: str, folder: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Downloads and unpacks a package below `folder`. Returns where, and the package's version."""
    folder.chmod(0o755)  # apt downloads as the user _apt when it can, who must get in
    try:
        run("apt-get", "download", "-qq", "-o", "Acquire::Retries=3", package, cwd=folder)
    except FetchError as error:
        raise FetchError(f"{error} (are the package lists there? try: apt-get update, as root)") from None
    archive = one_file(folder, "*.deb")
    version = run("dpkg-deb", "-f", str(archive), "Version").strip()
    found, expected = hashlib.sha256(archive.read_bytes()).hexdigest(), expected_sha256(package, version)
    if found != expected:
        raise FetchError(f"{archive.name}: found SHA-256 {found}, expected {expected} by the package lists")
    contents = folder / "contents"
    run("dpkg-deb", "-x", str(archive), str(contents))
    return contents, version


def check_english(name: str, text: str, megabytes: float) -> None:
    """Refuses a text that is not about as long as expected or does not look like English."""
    size = len(text.encode("utf-8")) / 1e6
    if not 0.7 * megabytes <= size <= 1.4 * megabytes:
        raise FetchError(f"{name}: found {size:.2f} MB of text, expected about {megabytes:.2f} MB")
    plain = sum(map(len, re.findall(r"[A-Za-z\s.,;:'\"()-]+", text))) / len(text)
    if plain < 0.92:
        raise FetchError(f"{name}: found {plain:.0%} letters, spaces and punctuation, expected at least 92 %")
    words = re.findall(r"[a-z]+", text.lower())
    common = sum(word in {"the", "and", "of", "to", "in", "a", "is", "that"} for word in words) / max(len(words), 1)
    if not 0.12 <= common <= 0.4:
        raise FetchError(f"{name}: found {common:.0%} of the commonest English words, expected 12 % to 40 %")


def replace_file(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# --- The folder -----------------------------------------------------------------------------------------------------

COLUMNS = ("file", "bytes", "sha256", "package", "version", "licence", "title")


def read_sources(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Rows of SOURCES.tsv by package; empty when there is none."""
    try:
        with open(folder / "SOURCES.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except FileNotFoundError:
        return {}
    return {row["package"]: row for row in rows if set(COLUMNS) <= row.keys()}


def write_sources(folder: pathlib.Path, rows: dict[str, dict[str, str]]) -> None:
    lines = ["\t".join(COLUMNS)] + ["\t".join(row[column] for column in COLUMNS) for row in rows.values()]
    replace_file(folder / "SOURCES.tsv", ("\n".join(lines) + "\n").encode("utf-8"))


def is_there(folder: pathlib.Path, row: Optional[dict[str, str]]) -> bool:
    """True when the file of a row is there with the recorded content."""
    if row is None or not (folder / row["file"]).is_file():
        return False
    return hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]


def fetch(source: Source, folder: pathlib.Path) -> dict[str, str]:
    """Writes the text of one package. Returns its row of SOURCES.tsv."""
    with tempfile.TemporaryDirectory(prefix="fetch-text-") as scratch:
        contents, version = download(source.package, pathlib.Path(scratch))
        try:
            text = "\n\n".join(source.read(contents)) + "\n"
        except (struct.error, zlib.error, ValueError, OSError) as error:
            raise FetchError(f"{source.package} {version}: cannot read its data: {error}") from error
    check_english(source.package, text, source.megabytes)
    content = text.encode("utf-8")
    name = f"{source.package}.txt"
    replace_file(folder / name, content)
    values = (name, str(len(content)), hashlib.sha256(content).hexdigest(), source.package, version)
    return dict(zip(COLUMNS, values + (source.licence, source.title)))


def fetch_all(sources: tuple[Source, ...], folder: pathlib.Path) -> int:
    """Brings the texts into the folder, those that are there already left alone. Returns their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_sources(folder)
    total = 0
    for source in sources:
        known = is_there(folder, rows.get(source.package))
        if not known:
            for tool in ("apt-get", "apt-cache", "dpkg-deb"):
                if not shutil.which(tool):
                    raise FetchError(f"{tool} is not here: this needs Debian or Ubuntu; elsewhere prepare your own text")
            rows[source.package] = fetch(source, folder)
            write_sources(folder, rows)
        size = int(rows[source.package]["bytes"])
        total += size
        state = "already there" if known else f"from version {rows[source.package]['version']}"
        print(f"{source.package}.txt  {size / 1e6:.2f} MB  {state}", flush=True)
    return total


def main(arguments: list[str]) -> int:
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="OUT", type=pathlib.Path, help="folder for the texts, made if needed")
    parser.add_argument("--size", choices=sorted(SIZES), default="quick", help="how much (default: quick)")
    options = parser.parse_args(arguments)
    try:
        total = fetch_all(SIZES[options.size], options.folder)
    except (FetchError, OSError) as error:
        print(f"fetch_text.py: {error}", file=sys.stderr)
        return 1
    print(f"total {total / 1e6:.2f} MB in {options.folder}, sources in {options.folder / 'SOURCES.tsv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
