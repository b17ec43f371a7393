"""Text formats and patterns as regular expressions that mean the same to Rust, Python and ECMA-262.

One expression judges the payload (Rust, linear time, whatever the payload), stands in the published JSON Schema and
checks the contract's own bounds (Python), so the three cannot disagree.
"""

from __future__ import annotations

import re
import warnings

from pydantic_core import SchemaError, SchemaValidator, core_schema

_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
# No leap second: neither Python nor DuckDB can hold 23:59:60.
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_ZONE = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_HEX = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    [
        f"(?:{_HEX}:){{7}}{_HEX}",
        f"(?:{_HEX}:){{6}}{_IPV4}",
        *(f"(?:{_HEX}:){{1,{7 - n}}}(?::{_HEX}){{1,{n}}}" for n in range(1, 7)),
        *(f"(?:{_HEX}:){{1,{5 - n}}}(?::{_HEX}){{0,{n}}}:{_IPV4}" for n in range(5)),
        f"(?:{_HEX}:){{1,7}}:",
        f":(?::{_HEX}){{1,7}}",
        f":(?::{_HEX}){{0,5}}:{_IPV4}",
        "::",
    ]
)
_UNRESERVED = r"[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}"
_PCHAR = f"(?:{_UNRESERVED}|[:@])"
_AUTHORITY = rf"(?:(?:{_UNRESERVED}|:)*@)?(?:\[[0-9A-Fa-f:.]+\]|(?:{_UNRESERVED})*)(?::[0-9]*)?"
_SEGMENTS = f"{_PCHAR}+(?:/{_PCHAR}*)*"
_URI = (
    f"[A-Za-z][A-Za-z0-9+.-]*:(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_SEGMENTS})?|{_SEGMENTS})?"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)


def anchored(expression: str) -> str:
    """The expression as a full match, however its engine searches."""
    return f"^(?:{expression})$"


FORMATS = {
    "date": anchored(_DATE),
    "date-time": anchored(f"{_DATE}[Tt]{_TIME}{_ZONE}"),
    "local-date-time": anchored(f"{_DATE}[Tt]{_TIME}"),
    "time": anchored(f"{_TIME}{_ZONE}"),
    "local-time": anchored(_TIME),
    "uuid": anchored("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    # The address a browser's e-mail field takes (WHATWG HTML), not the whole of RFC 5322.
    "email": anchored(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*"),
    "uri": anchored(_URI),
    "hostname": anchored(rf"{_LABEL}(?:\.{_LABEL})*"),
    "ipv4": anchored(_IPV4),
    "ipv6": anchored(_IPV6),
}
"""Format name -> anchored expression. `local-` has no zone and is no JSON Schema format."""

FORMAT_OF = {expression: name for name, expression in FORMATS.items()}

SAMPLES = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "local-date-time": "2026-01-31T12:00:00",
    "time": "12:00:00Z",
    "local-time": "12:00:00",
    "uuid": "0190a6f0-7c1e-7d3a-9b52-3f1f6f0a1b2c",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""A valid value of each format, for examples."""

_PIECES = re.compile(r"\\.|.", re.DOTALL)
_SHORTHANDS = {r"\d": "0-9", r"\w": "0-9A-Za-z_", r"\D": "0-9", r"\W": "0-9A-Za-z_"}


def portable(pattern: str) -> str:
    """A contract's pattern, anchored and the same to every engine. Raises `ValueError` with the reason if it cannot be.

    `\\d` and `\\w` are spelt out in ASCII, what ECMA-262 means by them; to Rust and Python they are Unicode classes.
    """
    spelt = _spell_out(pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # a FutureWarning marks `[[`, `--`, `&&` in a class: Rust reads set operations
            re.compile(spelt)  # on its own first: `a)|(?:b` would fit between the anchors
            re.compile(anchored(spelt))
    except (re.error, Warning) as error:
        raise ValueError(f"not a portable regular expression: {error}") from error
    try:
        SchemaValidator(core_schema.str_schema(pattern=anchored(spelt)))
    except SchemaError as error:
        reason = str(error).rsplit("error:", 1)[-1].strip()
        raise ValueError(f"not a regular expression of linear time (RE2, Rust): {reason}") from error
    return anchored(spelt)


def _spell_out(pattern: str) -> str:
    spelt: list[str] = []
    in_class = False
    for piece in _PIECES.findall(pattern):
        spelt.append(_spell_piece(piece, in_class=in_class))
        in_class = piece == "[" or (in_class and piece != "]")
    return "".join(spelt)


def _spell_piece(piece: str, *, in_class: bool) -> str:
    if piece not in _SHORTHANDS:
        return piece
    if in_class and piece.isupper():
        raise ValueError(f"{piece} inside a character class is not portable: list the characters")
    if in_class:
        return _SHORTHANDS[piece]
    return f"[{'^' if piece.isupper() else ''}{_SHORTHANDS[piece]}]"
