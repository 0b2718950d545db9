"""Which part of a file an accelerator takes, as far as its own software says so on this machine."""
