/*
 * A plugin for qemu-user's aarch64 emulator: what the guest did between marks, counted exactly.
 *
 *   gcc -O2 -shared -fPIC -o insncount.so insncount.c
 *   qemu-aarch64 -plugin insncount.so,out=FILE -cpu cortex-a76 program
 *
 * The guest calls prctl(MARK, tag); the kernel refuses it, and this plugin appends one line to FILE,
 *
 *   mark=1 instructions=1234 vector=567 ...
 *
 * with the totals since the start. A reader takes differences. Counting of memory begins with the
 * first mark, because until then it would only slow the emulator down.
 *
 *   instructions   A64 instructions, of which
 *   vector         advanced SIMD and floating point arithmetic, of which
 *   fma            fused multiply-adds of fp32 or fp64 vectors (FMLA, FMLS)
 *   branches       branches, exceptions and system instructions
 *   loads, stores  accesses of memory; a 16-byte vector counts as qemu splits it
 *   load_bytes, store_bytes
 *   l1_misses, l2_misses, l3_misses   lines of 64 bytes that were not in the model's caches
 *
 * The caches are those of a Cortex-A77 in a Snapdragon 865: 64 KiB, 4 ways; 512 KiB, 8 ways; 4 MiB,
 * 16 ways; least recently used goes out, stores allocate, nothing is fetched ahead. They are indexed
 * by the number of the page in the order of first use, so that the addresses which the kernel
 * happened to give do not matter and two runs agree.
 *
 * One vCPU only: a guest with threads would race on the counters, so a second one ends the count
 * with the line "error=threads". The declarations below are those of qemu's plugin interface,
 * version 1 (docs/devel/tcg-plugins.rst); Debian does not package its header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- qemu's interface ---- */

typedef uint64_t plugin_id;
struct tb;
struct insn;
enum { INLINE_ADD_U64 = 0 };
enum { NO_REGISTERS = 0 };
enum { READ_AND_WRITE = 3 };
typedef void mem_callback(unsigned vcpu, uint32_t info, uint64_t address, void *data);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct tb *, int op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct insn *, mem_callback *, int flags, int rw,
                                             void *data);
extern size_t qemu_plugin_tb_n_insns(const struct tb *);
extern struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct insn *);
extern unsigned qemu_plugin_mem_size_shift(uint32_t info);
extern bool qemu_plugin_mem_is_store(uint32_t info);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

/* ---- counters ---- */

enum counter {
    INSTRUCTIONS, VECTOR, FMA, BRANCHES, LOADS, STORES, LOAD_BYTES, STORE_BYTES,
    L1_MISSES, L2_MISSES, L3_MISSES, COUNTERS
};
static const char *const names[COUNTERS] = {
    "instructions", "vector", "fma", "branches", "loads", "stores", "load_bytes", "store_bytes",
    "l1_misses", "l2_misses", "l3_misses",
};
static uint64_t count[COUNTERS];
static bool counting_memory;
static FILE *out;

/* ---- caches ---- */

enum { LINE_BITS = 6, PAGE_BITS = 12, WAYS_MAX = 16 };

struct cache {
    unsigned sets, ways;
    uint64_t *lines; /* sets x ways, the most recently used first; 0 is empty */
};
static struct cache caches[3] = {
    {(64 << 10 >> LINE_BITS) / 4, 4, NULL},
    {(512 << 10 >> LINE_BITS) / 8, 8, NULL},
    {(4 << 20 >> LINE_BITS) / 16, 16, NULL},
};

/* Whether line was there; it is the most recently used afterwards. */
static bool touch(struct cache *cache, uint64_t line)
{
    uint64_t *set = cache->lines + (size_t)(line % cache->sets) * cache->ways;
    unsigned way = 0;
    while (way < cache->ways - 1 && set[way] != line)
        way++;
    bool hit = set[way] == line;
    memmove(set + 1, set, way * sizeof *set);
    set[0] = line;
    return hit;
}

/* ---- pages, numbered from 1 in the order of first use: an open hash table ---- */

struct page { uint64_t address, number; };
static struct page *pages;
static size_t pages_used, pages_size = 1 << 16;

static struct page *find_page(struct page *table, size_t size, uint64_t address)
{
    size_t at = (address * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (size - 1);
    while (table[at].number && table[at].address != address)
        at = (at + 1) & (size - 1);
    return &table[at];
}

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) {
        fputs("insncount: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void grow_pages(void)
{
    struct page *bigger = allocate(2 * pages_size, sizeof *bigger);
    for (size_t i = 0; i < pages_size; i++)
        if (pages[i].number)
            *find_page(bigger, 2 * pages_size, pages[i].address) = pages[i];
    free(pages);
    pages = bigger;
    pages_size *= 2;
}

static uint64_t page_number(uint64_t address)
{
    static struct page last;
    if (last.number && last.address == address)
        return last.number;
    struct page *page = find_page(pages, pages_size, address);
    if (!page->number) {
        if (2 * pages_used >= pages_size) {
            grow_pages();
            page = find_page(pages, pages_size, address);
        }
        *page = (struct page){address, ++pages_used};
    }
    last = *page;
    return page->number;
}

/* ---- memory ---- */

static void use_line(uint64_t address)
{
    static uint64_t last_virtual = UINT64_MAX;
    if (address >> LINE_BITS == last_virtual)
        return; /* it is the most recently used line of every cache already */
    last_virtual = address >> LINE_BITS;
    uint64_t line = page_number(address >> PAGE_BITS) << (PAGE_BITS - LINE_BITS) |
                    (last_virtual & ((1 << (PAGE_BITS - LINE_BITS)) - 1));
    for (int level = 0; level < 3; level++) {
        if (touch(&caches[level], line))
            return;
        count[L1_MISSES + level]++;
    }
}

static void at_access(unsigned vcpu, uint32_t info, uint64_t address, void *data)
{
    if (!counting_memory)
        return;
    uint64_t bytes = UINT64_C(1) << qemu_plugin_mem_size_shift(info);
    bool store = qemu_plugin_mem_is_store(info);
    count[store ? STORES : LOADS]++;
    count[store ? STORE_BYTES : LOAD_BYTES] += bytes;
    use_line(address);
    use_line(address + bytes - 1);
}

/* ---- instructions: the classes of the A64 encoding index ---- */

static bool is_vector(uint32_t word) { return (word >> 25 & 7) == 7; }
static bool is_branch(uint32_t word) { return (word >> 26 & 7) == 5; }
static bool is_memory(uint32_t word) { return (word >> 25 & 5) == 4; }

static bool is_fma(uint32_t word)
{
    return (word & 0xBF20FC00) == 0x0E20CC00    /* FMLA, FMLS (vector) */
           || (word & 0xBF80B400) == 0x0F801000 /* FMLA, FMLS (by element) */;
}

static void at_translation(plugin_id id, struct tb *tb)
{
    uint64_t n[COUNTERS] = {[INSTRUCTIONS] = qemu_plugin_tb_n_insns(tb)};
    for (size_t i = 0; i < n[INSTRUCTIONS]; i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        n[VECTOR] += is_vector(word);
        n[FMA] += is_fma(word);
        n[BRANCHES] += is_branch(word);
        if (is_memory(word))
            qemu_plugin_register_vcpu_mem_cb(insn, at_access, NO_REGISTERS, READ_AND_WRITE, NULL);
    }
    for (int i = 0; i < COUNTERS; i++)
        if (n[i])
            qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &count[i], n[i]);
}

/* ---- marks ---- */

enum { SYS_PRCTL = 167, MARK = 0x4d420001 };

static void at_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                       uint64_t a8)
{
    if (number != SYS_PRCTL || a1 != MARK)
        return;
    counting_memory = true;
    fprintf(out, "mark=%" PRIu64, a2);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, " %s=%" PRIu64, names[i], count[i]);
    fputc('\n', out);
    fflush(out);
}

static void at_vcpu(plugin_id id, unsigned vcpu)
{
    if (vcpu > 0)
        fputs("error=threads\n", out);
}

static void at_end(plugin_id id, void *data)
{
    fputs("end\n", out);
    fclose(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "w"))) {
        fputs("insncount: give one argument, out=FILE, that can be written\n", stderr);
        return -1;
    }
    pages = allocate(pages_size, sizeof *pages);
    for (int i = 0; i < 3; i++)
        caches[i].lines = allocate((size_t)caches[i].sets * caches[i].ways, sizeof(uint64_t));
    qemu_plugin_register_vcpu_init_cb(id, at_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, at_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, at_syscall);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
