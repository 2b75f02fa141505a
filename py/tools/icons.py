"""Draws the PNG icons of the web manifest like static/icon.svg: five bars with round ends on a coloured square.

    python3 py/tools/icons.py

The same pixels every time; standard library only.
"""

import math
import struct
import zlib
from pathlib import Path

STATIC = Path(__file__).resolve().parents[2] / "static"

# In the units of the SVG's view box.
BOX = 32.0
CORNER = 8.0
BARS = ((6.5, 14.0, 18.0), (11.25, 10.0, 22.0), (16.0, 6.5, 25.5), (20.75, 11.0, 21.0), (25.5, 14.0, 18.0))  # x, y to y
BAR_RADIUS = 1.25
GROUND, INK = (0xB5, 0x37, 0x1C), (0xFF, 0xFF, 0xFF)
SAFE_ZONE = 0.8  # what of a maskable icon's width no mask cuts off


def bars(x: float, y: float) -> float:
    """Distance to the nearest bar."""
    return min(math.hypot(x - bar, y - min(max(y, top), bottom)) for bar, top, bottom in BARS) - BAR_RADIUS


def square(x: float, y: float) -> float:
    """Distance to the square with round corners."""
    dx, dy = (max(abs(at - BOX / 2) - BOX / 2 + CORNER, 0.0) for at in (x, y))
    return math.hypot(dx, dy) - CORNER


def draw(n_pixels: int, *, maskable: bool = False) -> bytes:
    """A PNG file. maskable: colour to the edges, and the bars inside the safe zone."""
    unit = BOX / n_pixels

    def covered(distance: float) -> float:
        return min(max(0.5 - distance / unit, 0.0), 1.0)

    rows = bytearray()
    for row in range(n_pixels):
        rows.append(0)  # no filter
        for column in range(n_pixels):
            x, y = (column + 0.5) * unit, (row + 0.5) * unit
            alpha = 1.0 if maskable else covered(square(x, y))
            if maskable:
                x, y = (BOX / 2 + (at - BOX / 2) / SAFE_ZONE for at in (x, y))
            ink = covered(bars(x, y))
            rows += bytes(round(g + (i - g) * ink) for g, i in zip(GROUND, INK, strict=True))
            rows.append(round(255 * alpha))
    return _png(n_pixels, bytes(rows))


def _png(n_pixels: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", n_pixels, n_pixels, 8, 6, 0, 0, 0)  # 8 bits each of red, green, blue, alpha
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def main() -> None:
    for name, n_pixels, maskable in (("192", 192, False), ("512", 512, False), ("maskable-512", 512, True)):
        (STATIC / f"icon-{name}.png").write_bytes(draw(n_pixels, maskable=maskable))


if __name__ == "__main__":
    main()
