"""What a run came to: its scores with their intervals, and where they are written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plusx.evaluation.evaluate import Evaluation
from plusx.plan import Plan


@dataclass(frozen=True)
class Result:
    """What a run or an evaluation came to.

    Attributes:
        run: The run's folder; None for a dry run.
        split: What the source calls the split that was scored.
        samples: How many samples it has.
        evaluation: The scores with their intervals; None for a dry run.
        plan: What was run.
        seconds: "training" and "total".
        notes: Sentences that a person should read.
    """

    run: Path | None
    split: str
    samples: int
    evaluation: Evaluation | None
    plan: Plan
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what --json prints."""
        scores = {name: score.to_dict() for name, score in self.evaluation.scores.items()} if self.evaluation else {}
        return {
            "run": str(self.run) if self.run else None,
            "split": self.split,
            "samples": self.samples,
            "scores": scores,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            **({"notes": list(self.notes)} if self.notes else {}),
            **({} if self.evaluation else {"plan": self.plan.to_dict()}),
        }
