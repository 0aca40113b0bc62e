"""The rooms behind `peft_studio.transport`: one for each thing that a network can do to a request."""
