"""Puts an ablation into MODEL.md: `python -m tools.ablation_chapter` (PYTHONPATH=py).

What figures/ablation.json beside this file holds is drawn beside it and written between two marks in MODEL.md, so that
tables, figures and report are always of the same run. To publish another one, put its report in the place of that file.
"""

from pathlib import Path

from tools.ablation_plots import draw
from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.ablation_rendering import render

ROOT = Path(__file__).parents[2]
CHAPTER = ROOT / "MODEL.md"
REPORT = Path(__file__).parent / "figures" / "ablation.json"
BEGIN = "<!-- ablation: written by tools/ablation_chapter.py -->"
END = "<!-- ablation: end -->"


def chapter(text: str, ablation: Ablation) -> str:
    """MODEL.md with these tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render(ablation)}\n{END}{after}"


def main() -> None:
    ablation = Ablation.of_json(REPORT.read_bytes(), str(REPORT))
    draw(ablation, REPORT.parent)
    CHAPTER.write_text(chapter(CHAPTER.read_text(encoding="utf-8"), ablation), encoding="utf-8")


if __name__ == "__main__":
    main()
