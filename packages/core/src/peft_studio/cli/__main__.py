"""`python -m peft_studio.cli`."""

from peft_studio.cli import main

main()
