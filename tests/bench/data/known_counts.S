/* A program whose every instruction is known: what the plugin must count between its marks. */
    .global _start

    .macro mark tag
    mov x0, #1
    movk x0, #0x4d42, lsl #16
    mov x1, #\tag
    mov x8, #167                /* prctl */
    svc #0
    .endm

    .macro walk bytes           /* one 8-byte load per line of 64 bytes */
    ldr x2, =array
    mov x3, #(\bytes / 64)
1:  ldr x4, [x2], #64
    subs x3, x3, #1
    b.ne 1b
    .endm

_start:
    mark 0
    mov x9, #1000
1:  subs x9, x9, #1
    b.ne 1b
    mark 1                      /* 0 to 1: 1 + 2 * 1000 + 5 instructions, 1000 branches and 1 svc */

    mark 2
    ldr x2, =array
    ldp q0, q1, [x2]
    fmla v2.4s, v0.4s, v1.4s
    fmla v2.4s, v0.4s, v1.s[2]
    fmls v3.2d, v0.2d, v1.2d
    fadd v4.4s, v0.4s, v1.4s
    str q2, [x2, #64]
    strb w1, [x2, #63]
    stur x1, [x2, #60]          /* lies in two lines */
    mark 3                      /* 9 + 5 instructions, 4 vector, 3 of them fused */

    mark 4
    walk 0x40000
    mark 5                      /* 4096 lines, new to every cache */
    mark 6
    walk 0x40000
    mark 7                      /* in L2 of 512 KiB, not in L1 of 64 KiB */
    mark 8
    walk 0x100000
    mark 9                      /* 16384 lines */
    mark 10
    walk 0x100000
    mark 11                     /* in L3 of 4 MiB only */
    mark 12
    walk 0x4000
    mark 13
    mark 14
    walk 0x4000
    mark 15                     /* 256 lines, in L1 */

    mov x0, #0
    mov x8, #93                 /* exit */
    svc #0

    .bss
    .balign 4096
array: .space 0x100000
