/*
 * What Android's C library has and glibc has not, so that the x86_64 library in TensorFlow Lite's AAR runs in a JVM on
 * Linux: for tests only. patch_elf.py renames the two functions that both have with another meaning.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* stdin, stdout and stderr of bionic: three objects of 152 bytes; stderr is the one that is used. */
char __sF[3 * 152 + 256];

/* glibc's FILE is of 216 bytes and a pointer to its functions. */
__attribute__((constructor)) static void copy_stderr(void) { memcpy(__sF + 2 * 152, stderr, 224); }

volatile int *__errno(void) { return &errno; }

size_t __strlen_chk(const char *text, size_t size) {
    (void)size;
    return strlen(text);
}

int __system_property_get(const char *name, char *value) {
    (void)name;
    value[0] = 0;
    return 0;
}

void android_set_abort_message(const char *text) { fprintf(stderr, "abort: %s\n", text); }

int __android_log_vprint(int level, const char *tag, const char *format, va_list values) {
    (void)level, (void)tag, (void)format, (void)values;
    return 0;
}

int __android_log_print(int level, const char *tag, const char *format, ...) {
    (void)level, (void)tag, (void)format;
    return 0;
}

/* The numbers of bionic's bits/sysconf.h. */
long Sysconf(int name) {
    switch (name) {
    case 0x27:
    case 0x28: return sysconf(_SC_PAGESIZE);
    case 0x60: return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61: return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62: return sysconf(_SC_PHYS_PAGES);
    default: errno = EINVAL; return -1;
    }
}

/* bionic's is the one of POSIX, glibc's under this name is GNU's. */
int Strerror_r(int code, char *text, size_t size) {
    extern int __xpg_strerror_r(int, char *, size_t);
    return __xpg_strerror_r(code, text, size);
}
