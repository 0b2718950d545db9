"""An aarch64 machine that counts: qemu-user, a plugin of ours, and the runtimes' ARM builds.

`prepare` puts everything into one folder, `devices.qemu` runs it, `counts` reads what the plugin
wrote, `stored` keeps what was counted once. A count is exact and repeats; it is never a time.
"""
