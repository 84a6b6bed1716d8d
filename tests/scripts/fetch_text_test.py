"""Tests of scripts/fetch_text.py: python3 -m unittest discover -s tests/scripts -p '*_test.py'. No network is used."""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import os
import pathlib
import struct
import sys
import tempfile
import unittest
import zlib
from unittest import mock

sys.dont_write_bytecode = True
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "fetch_text.py"
spec = importlib.util.spec_from_file_location("fetch_text", SCRIPT)
fetch_text = importlib.util.module_from_spec(spec)
sys.modules["fetch_text"] = fetch_text
spec.loader.exec_module(fetch_text)

PROSE = "On a bright morning Emma walked down to the village, where her sister met the other ladies at church. "


def character_vector(strings, version=2):
    """R's serialization of a character vector; None is a missing string."""
    data = b"X\n" + struct.pack(">iii", version, 0x040000, 0x020300)
    if version >= 3:
        data += struct.pack(">i", 5) + b"UTF-8"
    data += struct.pack(">Ii", 16, len(strings))
    for string in strings:
        raw = (string or "").encode()
        data += struct.pack(">Ii", 0x00040009, -1 if string is None else len(raw)) + raw
    return data


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def put(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class RDatabase(Folder):
    def test_reads_both_versions_and_missing_strings(self):
        for version in (2, 3):
            data = character_vector(["Émile", None, ""], version)
            self.assertEqual(fetch_text.r_string_vector(data), ["Émile", "", ""])

    def test_refuses_other_types(self):
        with self.assertRaisesRegex(fetch_text.FetchError, "R type 13"):
            fetch_text.r_string_vector(character_vector([])[:14] + struct.pack(">Ii", 13, 0))
        with self.assertRaisesRegex(fetch_text.FetchError, "XDR"):
            fetch_text.r_string_vector(b"A\n" + bytes(20))

    def records(self, *books):
        raw = [character_vector(book) for book in books]
        return b"".join(struct.pack(">I", len(data)) + zlib.compress(data) for data in raw)

    def test_joins_lines_and_sorts_books(self):
        database = self.records(["", "Persuasion", "It was", ""], ["Emma", "She had"])
        self.put("usr/lib/R/site-library/x/data/Rdata.rdb", database)
        self.assertEqual(fetch_text.r_database_texts(self.root), ["Emma\nShe had", "Persuasion\nIt was"])

    def test_refuses_a_wrong_length(self):
        database = self.records(["Emma"])
        self.put("usr/lib/R/site-library/x/data/Rdata.rdb", b"\0\0\0\1" + database[4:])
        with self.assertRaisesRegex(fetch_text.FetchError, "another length"):
            fetch_text.r_database_texts(self.root)


class Osis(unittest.TestCase):
    def test_drops_markup_notes_and_headings(self):
        markup = (
            '<div sID="1" type="x-p"/><chapter n="1"/><w lemma="a">In</w> <w>the</w> beginning<note n="1">Or,\n'
            "<rdg>at first</rdg></note> was\nthe  Word.<title>John</title>&amp;c.<div eID='1'/> <title/> End."
        )
        self.assertEqual(fetch_text.osis_to_text(markup), "In the beginning was the Word.&c.\n\nEnd.")

    def test_keeps_paragraphs_and_lines_of_poems(self):
        markup = "One. <p/> <div/><lg><l>Two,</l> <l>three</l></lg> <table><row><cell>A</cell><cell>B</cell></row></table>"
        self.assertEqual(fetch_text.osis_to_text(markup), "One.\n\nTwo,\n\nthree\n\nA B")


class Sword(Folder):
    def module(self, markups, sizes=None):
        index, blocks = b"", b""
        for i, markup in enumerate(markups):
            block = zlib.compress(markup.encode())
            index += struct.pack("<III", len(blocks), len(block), (sizes or {}).get(i, len(markup.encode())))
            blocks += block
        for testament in ("ot", "nt"):
            self.put(f"usr/share/sword/modules/texts/m/{testament}.bzs", index + bytes(12))
            self.put(f"usr/share/sword/modules/texts/m/{testament}.bzz", blocks)

    def test_reads_books_and_leaves_out_front_matter(self):
        self.module(["<div/>short", "<div/>" + "word " * 100])
        self.assertEqual(fetch_text.sword_texts(self.root), [("word " * 100).strip()] * 2)

    def test_refuses_a_wrong_length(self):
        self.module(["text"], {0: 99})
        with self.assertRaisesRegex(fetch_text.FetchError, "another length"):
            fetch_text.sword_texts(self.root)


class Dictd(Folder):
    def test_numbers(self):
        self.assertEqual([fetch_text.dictd_number(d) for d in ("A", "/", "BA", "Gb9L")], [0, 63, 64, 1687371])

    def test_reads_articles_in_order_once_each(self):
        articles = [
            b"00-database-info\n   not this one at all\n",
            b"Ape \\Ape\\, n. [OE. ape.]\n   A {quadrumanous} mammal. [1913 Webster]\n\n   2. A mimic.\n",
            b"Bad \x92\xff article that is not UTF-8\n",
            b"Zoo\n   A place where the animals live.\n",
        ]
        digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        place, lines = 0, []
        for article, names in zip(articles, (["00-database-info"], ["ape", "mimic"], ["bad"], ["zoo"])):
            numbers = [digits[n // 64] + digits[n % 64] for n in (place, len(article))]
            lines += ["\t".join([name, *numbers]) for name in names]
            place += len(article)
        self.put("usr/share/dictd/d.index", "\n".join(reversed(lines)).encode() + b"\n")
        self.put("usr/share/dictd/d.dict.dz", gzip.compress(b"".join(articles)))
        self.assertEqual(
            fetch_text.dictd_texts(self.root),
            ["Ape, n. [OE. ape.]\nA quadrumanous mammal.\n2. A mimic.", "Zoo\nA place where the animals live."],
        )


class CheckEnglish(unittest.TestCase):
    def refused(self, text, megabytes, why):
        with self.assertRaisesRegex(fetch_text.FetchError, why):
            fetch_text.check_english("name", text, megabytes)

    def test_takes_prose(self):
        fetch_text.check_english("name", PROSE * 10000, len(PROSE) / 100)

    def test_refuses_what_is_not(self):
        self.refused(PROSE, 4.0, "0.00 MB of text, expected about 4.00 MB")
        self.refused(PROSE * 100000, 4.0, "expected about 4.00 MB")
        self.refused("", 4.0, "expected about 4.00 MB")
        self.refused("0x1f, 0x2e; " * 10000, 0.12, "letters, spaces and punctuation")
        self.refused("Lorem ipsum dolor sit amet consectetur " * 10000, 0.39, "commonest English words")


class Fetching(Folder):
    """With stand-ins for apt-get, apt-cache and dpkg-deb."""

    def setUp(self):
        super().setUp()
        self.out = self.root / "out"
        self.archive = b"a package"
        self.listed = hashlib.sha256(self.archive).hexdigest()
        self.downloads = 0
        self.text = PROSE * 10000
        source = fetch_text.Source("pkg", "A title", "free", len(self.text) / 1e6, lambda root: [self.text])
        for patch in (
            mock.patch.dict(fetch_text.SIZES, {"quick": (source,)}),
            mock.patch.object(fetch_text, "run", self.run_tool),
            mock.patch.object(fetch_text.shutil, "which", lambda tool: "/usr/bin/" + tool),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def run_tool(self, *command, cwd=None):
        if command[:2] == ("apt-get", "download"):
            self.downloads += 1
            (cwd / "pkg_1.0_all.deb").write_bytes(self.archive)
            return ""
        if command[:2] == ("apt-cache", "show"):
            self.assertEqual(command[2], "pkg=1.0")
            return f"Package: pkg\nSHA256: {self.listed}\n"
        return "1.0\n" if command[1] == "-f" else ""

    def fetch(self):
        """Exit status, standard output and error of the script."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = fetch_text.main([str(self.out)])
        return status, out.getvalue(), err.getvalue()

    def test_writes_texts_and_sources_once(self):
        status, output, _ = self.fetch()
        self.assertEqual(status, 0)
        self.assertIn(f"total {len(self.text) / 1e6:.2f} MB", output)
        self.assertEqual((self.out / "pkg.txt").read_text(), self.text + "\n")
        row = fetch_text.read_sources(self.out)["pkg"]
        self.assertEqual((row["version"], row["licence"], row["bytes"]), ("1.0", "free", str(len(self.text) + 1)))
        self.assertEqual(sorted(os.listdir(self.out)), ["SOURCES.tsv", "pkg.txt"])
        self.assertIn("already there", self.fetch()[1])
        self.assertEqual(self.downloads, 1)

    def test_a_changed_or_missing_text_is_fetched_again(self):
        self.fetch()
        (self.out / "pkg.txt").write_text("edited")
        self.fetch()
        (self.out / "pkg.txt").unlink()
        self.fetch()
        self.assertEqual(self.downloads, 3)
        self.assertEqual((self.out / "pkg.txt").read_text(), self.text + "\n")

    def test_a_wrong_package_is_refused(self):
        self.listed = "0" * 64
        status, _, error = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn("pkg_1.0_all.deb: found SHA-256", error)
        self.assertFalse((self.out / "pkg.txt").exists())

    def test_a_wrong_text_is_refused(self):
        self.text = "x" * len(self.text)
        status, _, error = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn("commonest English words", error)
        self.assertEqual(os.listdir(self.out), [])

    def test_missing_package_lists_are_explained(self):
        def without_lists(*command, cwd=None):
            raise fetch_text.FetchError("apt-get download -qq pkg: E: Unable to locate package pkg")

        with mock.patch.object(fetch_text, "run", without_lists):
            status, _, error = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn("apt-get update", error)
        self.assertEqual(error.count("\n"), 1)

    def test_another_system_is_explained(self):
        with mock.patch.object(fetch_text.shutil, "which", lambda tool: None):
            self.assertIn("needs Debian or Ubuntu", self.fetch()[2])

    def test_a_failed_write_leaves_no_temporary(self):
        self.out.mkdir()
        (self.out / "a").write_text("old")
        with mock.patch.object(fetch_text.os, "replace", side_effect=OSError("no space")):
            with self.assertRaises(OSError):
                fetch_text.replace_file(self.out / "a", b"new")
        self.assertEqual((self.out / "a").read_text(), "old")
        self.assertEqual(os.listdir(self.out), ["a"])


class Run(unittest.TestCase):
    def test_gives_the_last_line_of_an_error(self):
        with self.assertRaisesRegex(fetch_text.FetchError, "why$"):
            fetch_text.run("sh", "-c", "echo first >&2; echo why >&2; exit 3")
        self.assertEqual(fetch_text.run("echo", "a"), "a\n")


if __name__ == "__main__":
    unittest.main()
