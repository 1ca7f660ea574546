"""A sheet on which a diagram is drawn, and the sizes and colors that its parts share."""

from dataclasses import dataclass, field

from plusx.evaluation.diagram.drawing import Box, Line, Words

# Hues of figure 3, each darker than the one before, so that they differ in gray too.
STAGES = (
    ("#ece4f6", "#5b3f93"),
    ("#d5ecd2", "#22692c"),
    ("#f7c9bd", "#9a3321"),
    ("#abcdec", "#174f86"),
    ("#d8b86a", "#6b4e00"),
)
PLAIN = ("#f3f4f6", "#4b5563")
SOFT = "#5a6470"
PANEL = ("#fafbfc", "#d0d5dc")

LETTER = 7.0  # width of a letter at 12 pixels, at most
BOX = 24  # height of a layer


@dataclass
class Sheet:
    """What has been drawn so far."""

    items: list[Box | Line | Words] = field(default_factory=list[Box | Line | Words])

    def words(self, x: float, y: float, text: str, **style: object) -> None:
        """Write a line of text."""
        self.items.append(Words(x, y, text, **style))  # type: ignore[arg-type]

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Draw an arrow downwards."""
        self.items.append(Line(((x, top), (x, bottom)), arrow=True))


def colors(stage: int) -> tuple[str, str]:
    """Return the fill and the line of a stage."""
    return STAGES[stage % len(STAGES)] if stage >= 0 else PLAIN
