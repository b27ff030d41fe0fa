"""Names: constants of `diorama.abi` by value, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Names", "quote"]

_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x09: "\\t", 0x0A: "\\n", 0x0B: "\\v", 0x0C: "\\f", 0x0D: "\\r"}


class Names:
    """The constants of a module whose names begin with one of the prefixes; looked up when first needed."""

    __slots__ = ("_bits", "_found", "_module", "_prefixes", "_title", "_without")

    def __init__(
        self, module: ModuleType, *prefixes: str, without: tuple[str, ...] = (), title: str = ""
    ) -> None:
        self._module = module
        self._prefixes = prefixes
        self._without = without
        self._title = title
        self._found: dict[int, str] = {}
        self._bits: list[tuple[int, int, str]] = []

    @property
    def title(self) -> str:
        """What they are called together: "O_*"."""
        exact = vars(self._module)
        words = [prefix if prefix in exact else f"{prefix}*" for prefix in self._prefixes]
        return self._title or ", ".join(words)

    def by_value(self) -> dict[int, str]:
        """Value to name; of several names for one value the first."""
        if not self._found:
            # Put in place at a stroke: other guardians may be reading.
            found: dict[int, str] = {}
            for name, value in vars(self._module).items():
                if name.startswith(self._prefixes) and name not in self._without and isinstance(value, int):
                    found.setdefault(value, name)
            self._found = found
        return self._found

    def _by_bits(self) -> list[tuple[int, int, str]]:
        """Bits, place in the order of declaration, name; what has most bits first."""
        if not self._bits:
            named = enumerate(self.by_value().items())
            rows = [(bits, place, name) for place, (bits, name) in named if bits > 0]
            self._bits = sorted(rows, key=lambda row: -row[0].bit_count())
        return self._bits

    def one(self, value: int) -> str:
        """The name of one value, or the value in hexadecimal when it has none."""
        return self.by_value().get(value) or (str(value) if -10 < value < 10 else hex(value))

    def many(self, value: int) -> str:
        """The names of the bits that are set, joined by `|`, what has no name at the end in hexadecimal."""
        known = self.by_value().get(value)
        if known is not None:
            return known
        found: list[tuple[int, str]] = []
        for bits, place, name in self._by_bits():
            if value & bits == bits:
                found.append((place, name))
                value &= ~bits
        parts = [name for _, name in sorted(found)]
        if value or not parts:
            parts.append(hex(value) if value else "0")
        return "|".join(parts)


def _escape(byte: int, following: int) -> str:
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    if 0x20 <= byte < 0x7F:
        return chr(byte)
    # As in C, an octal escape is as short as the next character allows.
    return f"\\{byte:03o}" if 0x30 <= following <= 0x37 else f"\\{byte:o}"


def quote(data: bytes, limit: int = -1) -> str:
    """A C string literal of the bytes, cut with `...` after `limit` of them."""
    cut = data if limit < 0 else data[:limit]
    text = "".join([_escape(byte, after) for byte, after in zip(cut, [*cut[1:], 0], strict=False)])
    return f'"{text}"' + ("..." if len(cut) < len(data) else "")
