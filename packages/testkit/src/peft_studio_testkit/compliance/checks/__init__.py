"""The checks themselves, one module per subject. A function is a check: its name the id, its docstring the sentence."""
