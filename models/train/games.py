"""Games that hold what actors say beside what is read meanwhile."""

import collections
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy as np

from .common import INPUT_HZ


def parts(said: str) -> dict[int, str]:
    """What is recorded apart: the text between movements (`*05`, `*FL`), by its number, from 1 on."""
    pieces = enumerate(re.split(r"\*(?:\d{1,3}|[A-Z]{2})", said), 1)
    return {number: text.strip() for number, text in pieces if re.search("[a-zA-Z]", text)}


class AmazonQueen:
    """`queen.1c`: a header `QTBL`, with entries of a name, an offset and a size, and then these files: dialogues `*.DOG`, scenes
    `*.CUT`, and each line's sound in MP3, `*.SB`."""

    PATH = Path(os.environ.get("AMAZON_QUEEN", "/usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"))

    def __init__(self, path: Path):
        self.bytes = path.read_bytes() if path.exists() else b""
        if self.bytes[:4] != b"QTBL":
            wanted = "queen.1c of Debian's flight-of-the-amazon-queen"
            raise SystemExit(f"{path}: begins with {self.bytes[:4]!r}, where QTBL is expected: install or name {wanted}")
        if self.bytes[12] != 1:
            raise SystemExit(f"{path}: sound of kind {self.bytes[12]}, where 1, MP3, is expected, as Debian has it")
        (count,) = struct.unpack_from(">H", self.bytes, 13)
        self.files = {}
        for name, _, at, size in struct.iter_unpack(">12sBII", self.bytes[15 : 15 + 21 * count]):
            self.files[name.rstrip(b"\0").decode()] = (at, size)

    def read(self, name: str) -> bytes:
        at, size = self.files[name]
        return self.bytes[at : at + size]

    def dialogues(self) -> list[tuple[str, str]]:
        """Names of recorded lines, and what is said. Which dialogue a recording's first two figures mean is not told: the one
        that has the same nodes."""
        spoken = collections.defaultdict(dict)
        for name in self.files:
            if found := re.fullmatch(r"(\d\d)([0-9A-F]{4}[JP])([0-9A-F])\.SB", name):
                spoken[found[1]][found[2], int(found[3], 16)] = name
        written = [self.nodes(name) for name in self.files if name.endswith(".DOG")]
        out = []
        for _, names in sorted(spoken.items()):
            likeness = lambda said: len(set(names) & set(said)) / len(set(names) | set(said))  # noqa: E731, B023
            second, first = sorted(written, key=likeness)[-2:]
            if likeness(first) > max(0.5, likeness(second) + 0.1):
                out += [(names[node], first[node]) for node in sorted(set(names) & set(first))]
        return out

    def nodes(self, name: str) -> dict[tuple[str, int], str]:
        """What is said in a dialogue, by the number of the node and who speaks there (J, P), and by the part of it."""
        data, at, nodes = self.read(name), 20, []
        while at < len(data) - 4:
            number, length = struct.unpack_from(">HB", data, at)
            said, after = data[at + 3 : at + 3 + length], data[at + 3 + length :][:1]
            text = said.isascii() and re.search(rb"[a-z]{2}", said)
            if length > 3 and number < 4096 and text and after in (b"", b"\0"):
                nodes.append((number, said.decode()))
                at += length + 2
            at += 2 - at % 2
        ones = [i for i, (number, _) in enumerate(nodes) if number == 1]  # where the other's lines begin, or one later
        others = ones[-1] - (ones[-1] > 0 and nodes[ones[-1] - 1][0] == 0) if ones else len(nodes)
        lines = {}
        for i, (number, said) in enumerate(nodes):
            for part, text in parts(said).items():
                lines[f"{number:04X}{'J' if i < others else 'P'}", part] = text
        return lines

    def cutaways(self) -> list[tuple[str, str]]:
        """The same of scenes that are watched, where as many sentences are recorded as are written."""
        spoken, out = collections.defaultdict(lambda: collections.defaultdict(dict)), []
        for name in self.files:
            if found := re.fullmatch(r"(C\w{4})(\d\d)([0-9A-F])\.SB", name):
                spoken[found[1].rstrip("_")][found[2]][int(found[3], 16)] = name
        for scene, sentences in sorted(spoken.items()):
            data, at, written = self.read(f"{scene}.CUT"), 20, []
            while at < len(data):
                said = data[at + 1 : at + 1 + data[at]]
                whole = data[at] > 3 and re.fullmatch(rb"[ -~]*[a-z]{2}[ -~]*(\*\d\d|[.?!,\"])", said)
                written += [parts(said.decode())] if whole else []
                at += 1 + data[at] if whole else 1
            if len(written) == len(sentences):
                for said, (_, names) in zip(written, sorted(sentences.items())):
                    out += [(names[part], said[part]) for part in sorted(set(names) & set(said))]
        return out

    def sound(self, name: str) -> np.ndarray:
        command = ["ffmpeg", "-v", "error", "-f", "mp3", "-i", "-", "-ac", "1", "-ar", str(INPUT_HZ), "-f", "s16le", "-"]
        return np.frombuffer(subprocess.run(command, input=self.read(name), check=True, capture_output=True).stdout, "<i2").copy()
