"""An aarch64 machine that counts: qemu-user, a plugin of ours, and the runtimes' ARM builds.

`prepare` puts everything into one folder, `guest` starts a runtime in it, `counts` reads what the
plugin wrote. A count is exact and repeats; it is never a time.
"""
