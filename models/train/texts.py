"""English sentences that drive the synthesisers. They only choose what is said; no text is shipped."""

import os
import random
import re
from pathlib import Path

FORTUNES = Path(os.environ.get("FORTUNES", "/usr/share/games/fortunes"))
FILES = """education food goedel humorists computers science wisdom work platitudes pets people news linux literature
law kids definitions cookie miscellaneous""".split()
PLAIN = re.compile(r"[A-Za-z0-9 ,.'!?;:-]+")


def sentences(seed: int) -> list[str]:
    found = set()
    for name in FILES:
        for fortune in (FORTUNES / name).read_text(errors="ignore").split("\n%\n"):
            fortune = re.sub(r"\n\s*--.*", "", fortune, flags=re.S)
            for line in re.split(r"(?<=[.!?]) ", re.sub(r"\s+", " ", fortune)):
                line = line.strip()
                shouted = re.search(r"[A-Z]{3}", line)
                if 30 <= len(line) <= 120 and PLAIN.fullmatch(line) and line[0].isupper() and line[-1] in ".!?" and not shouted:
                    found.add(line)
    rng = random.Random(seed)
    out = sorted(found)
    rng.shuffle(out)
    for i in range(0, len(out), 12):  # numbers and the phrases of prompts are rare in prose
        out.insert(i, number(rng))
    return out


def number(rng: random.Random) -> str:
    head = rng.choice(["The code is", "Please dial", "Press", "Your call is number", "It costs", "Extension"])
    tail = rng.choice(["please", "thank you", f"or press {rng.randint(0, 9)} for help", f"and {rng.randint(1, 99)} cents"])
    return f"{head} {rng.randint(0, 9999)}, {tail}."
