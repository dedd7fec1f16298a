"""What tyro has against a command line, in one line of plain words instead of a box."""

import re

_PYTHON = {
    r"invalid literal for int\(\) with base 10: ('.*')": r"\1 is not a whole number",
    r"could not convert string to float: ('.*')": r"\1 is not a number",
}
"""Messages of Python that tyro hands on, and what they mean."""


def line_of(text: str) -> str:
    """What a box of tyro's says, without its edges, on one line.

    Options that are missing come with their help, unknown ones with the nearest that there is.
    tyro puts the title into the box's upper edge or, in ASCII, into a paragraph of its own.
    """
    paragraphs = _paragraphs(text)
    first = paragraphs[0]
    if first[0].strip().startswith("Missing from"):
        begin = next(i for i, line in enumerate(first) if line.endswith(":")) + 1
        return f"Missing: {'; '.join(_missing(first[begin:]))}"
    said = " ".join(" ".join(first).split()).rstrip(".")
    for pattern, words in _PYTHON.items():
        said = re.sub(pattern, words, said)
    nearest = next((part[1].strip() for part in paragraphs[1:] if _suggests(part)), None)
    if nearest is not None:
        return f"{said}; perhaps you meant {nearest}"
    if re.match(r"Unrecognized options: [^-]", said):
        return f"{said}; put a text of several words in quotes"
    return said


def _paragraphs(text: str) -> list[list[str]]:
    """The lines of a box between its rules, indented as they are."""
    lines = [line.rstrip("│ ").removeprefix("│") for line in text.splitlines()]
    rows = [line for line in lines if not line.startswith("╭")]
    body = "\n".join("" if set(line.strip()) <= set("╰─-╯") else line for line in rows)
    parts = [part.split("\n") for part in re.split(r"\n{2,}", body.strip("\n"))]
    return parts[1:] if "│" not in text and len(parts) > 1 else parts


def _suggests(paragraph: list[str]) -> bool:
    return len(paragraph) > 1 and paragraph[0].strip().startswith(("Perhaps you", "Arguments sim"))


def _missing(lines: list[str]) -> list[str]:
    """Each option that is missing, with its help in brackets; the help is indented below it."""
    least = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    options: list[list[str]] = []
    for line in lines:
        if len(line) - len(line.lstrip()) == least:
            options.append([line.strip()])
        else:
            options[-1].append(line.strip())
    helps = [" ".join(words[1:]).removesuffix("(required)").rstrip(" .") for words in options]
    return [f"{words[0]} ({said})" for words, said in zip(options, helps, strict=True)]
