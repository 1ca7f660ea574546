"""What a network's stored predictions are worth: scores with intervals, complexity, and the report a person reads."""
