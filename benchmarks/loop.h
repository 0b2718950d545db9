/* What the native loops of bench_agreement.py share.
 *
 * A loop reads lines from stdin: "N" runs N inferences, back to back, and prints one line: the
 * nanoseconds of processor time of all threads, then the nanoseconds of each inference.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* `count` floats in [-1, 1] for an image that is the same for every loop. */
static float *pattern(size_t count)
{
    float *data = malloc(sizeof(float) * count);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(i % 255) / 127.0f - 1.0f;
    return data;
}

static int serve(void (*infer)(void))
{
    int count;

    while (scanf("%d", &count) == 1) {
        int64_t *samples = malloc(sizeof(int64_t) * count);
        int64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < count; i++) {
            int64_t start = now(CLOCK_MONOTONIC);
            infer();
            samples[i] = now(CLOCK_MONOTONIC) - start;
        }
        printf("%lld", (long long)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu));
        for (int i = 0; i < count; i++)
            printf(" %lld", (long long)samples[i]);
        printf("\n");
        fflush(stdout);
        free(samples);
    }
    return 0;
}
