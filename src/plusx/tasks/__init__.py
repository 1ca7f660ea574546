"""What is asked of a backbone's features: a head, a loss and a way to read the answer."""

from typing import Any

from plusx.tasks.classification import Classification

TASKS: dict[str, type[Any]] = {"classification": Classification}
