"""The demo's data: every character that Unicode has assigned, from Python's own tables.

A record's key is the code point as it is usually written, its value what is known of the character:

    U+00BD  {"name": "VULGAR FRACTION ONE HALF", "category": "No", "numeric": 0.5}
"""

import json
import sys
import unicodedata
from collections.abc import Iterator

# Not assigned; halves of UTF-16 pairs, which are no characters; private use, of which there is nothing
# to say.
LEFT_OUT = {"Cn", "Cs", "Co"}

Record = tuple[str, bytes]


def records() -> Iterator[Record]:
    """All records, in the order of the code points: 144,762 with the Unicode 14 of Python 3.11."""
    for code_point in range(sys.maxunicode + 1):
        character = chr(code_point)
        category = unicodedata.category(character)
        if category not in LEFT_OUT:
            value = {
                "name": unicodedata.name(character, None),
                "category": category,
                "numeric": unicodedata.numeric(character, None),
            }
            yield f"U+{code_point:04X}", json.dumps(value).encode()


if __name__ == "__main__":
    print(sum(1 for _ in records()), "records of Unicode", unicodedata.unidata_version)
