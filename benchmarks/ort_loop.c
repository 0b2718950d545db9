/* A bare loop over onnxruntime's C API, for bench_agreement.py.
 *
 *     ort_loop MODEL THREADS
 *
 * Reads lines from stdin: "N" runs N inferences and prints their nanoseconds on one line. The input is
 * a fixed pattern; the output tensor is made by the first run and used again by the others.
 * Build: cc -O2 -I INCLUDE ort_loop.c libonnxruntime.so -o ort_loop
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "onnxruntime_c_api.h"

static const OrtApi *api;

static void check(OrtStatus *status)
{
    if (status != NULL) {
        fprintf(stderr, "%s\n", api->GetErrorMessage(status));
        exit(1);
    }
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static OrtValue *make_input(OrtSession *session)
{
    OrtTypeInfo *type;
    const OrtTensorTypeAndShapeInfo *info;
    OrtMemoryInfo *memory;
    OrtValue *value;
    int64_t dims[4], count = 1;

    check(api->SessionGetInputTypeInfo(session, 0, &type));
    check(api->CastTypeInfoToTensorInfo(type, &info));
    check(api->GetDimensions(info, dims, 4));
    for (int i = 0; i < 4; i++)
        count *= dims[i];
    float *data = malloc(sizeof(float) * count);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)(i % 255) / 127.0f - 1.0f;
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    check(api->CreateTensorWithDataAsOrtValue(memory, data, sizeof(float) * count, dims, 4,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    return value;
}

int main(int argc, char **argv)
{
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtAllocator *allocator;
    OrtValue *output = NULL;
    char *in_name, *out_name;
    int count;

    if (argc != 3)
        return 2;
    api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "ort_loop", &env));
    check(api->CreateSessionOptions(&options));
    check(api->SetIntraOpNumThreads(options, atoi(argv[2])));
    check(api->SetInterOpNumThreads(options, 1));
    check(api->CreateSession(env, argv[1], options, &session));
    check(api->GetAllocatorWithDefaultOptions(&allocator));
    check(api->SessionGetInputName(session, 0, allocator, &in_name));
    check(api->SessionGetOutputName(session, 0, allocator, &out_name));
    const OrtValue *input = make_input(session);
    const char *in_names[] = {in_name}, *out_names[] = {out_name};
    while (scanf("%d", &count) == 1) {
        int64_t *samples = malloc(sizeof(int64_t) * count);
        for (int i = 0; i < count; i++) {
            int64_t start = now();
            check(api->Run(session, NULL, in_names, &input, 1, out_names, 1, &output));
            samples[i] = now() - start;
        }
        for (int i = 0; i < count; i++)
            printf("%lld%c", (long long)samples[i], i + 1 < count ? ' ' : '\n');
        fflush(stdout);
        free(samples);
    }
    return 0;
}
