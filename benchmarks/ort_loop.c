/* A bare loop over onnxruntime's C API, for bench_agreement.py.
 *
 *     ort_loop LIBRARY MODEL THREADS
 *
 * LIBRARY is libonnxruntime.so, of the wheel for Python or of a release. The wheel has no headers, so
 * the few functions that are needed are taken out of onnxruntime's table of functions by position.
 * Positions never change: onnxruntime only appends to the table (onnxruntime_c_api.h, struct OrtApi).
 * The output tensors are made by the first run and used again by the others.
 * Build: cc -O2 ort_loop.c -ldl -o ort_loop
 */
#include <dlfcn.h>

#include "loop.h"

enum { API_VERSION = 1, LOG_ERRORS = 3, FLOAT = 1, DEVICE_ALLOCATOR = 0, DEFAULT_MEMORY = 0, MOST = 16 };

enum position {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    SET_INTRA_OP_NUM_THREADS = 24,
    SET_INTER_OP_NUM_THREADS = 25,
    SESSION_GET_OUTPUT_COUNT = 31,
    SESSION_GET_INPUT_TYPE_INFO = 33,
    SESSION_GET_INPUT_NAME = 36,
    SESSION_GET_OUTPUT_NAME = 37,
    CREATE_TENSOR_WITH_DATA = 49,
    CAST_TYPE_INFO_TO_TENSOR_INFO = 55,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    CREATE_CPU_MEMORY_INFO = 69,
    GET_DEFAULT_ALLOCATOR = 78,
};

typedef struct {
    void *const *(*get_api)(uint32_t);
    const char *(*get_version)(void);
} ApiBase;

static void *const *api;
static void *session;
static const void *input;
static void *outputs[MOST];
static const char *input_name, *output_names[MOST];
static size_t output_count;

static void check(void *status)
{
    if (status != NULL) {
        fprintf(stderr, "%s\n", ((const char *(*)(void *))api[GET_ERROR_MESSAGE])(status));
        exit(1);
    }
}

/* Call the function at a position; every argument is a pointer, a size or an int in a register. */
#define CALL(position, types, ...) check(((void *(*) types)api[position])(__VA_ARGS__))

static void create_session(const char *model, int threads)
{
    void *env, *options;

    CALL(CREATE_ENV, (int, const char *, void **), LOG_ERRORS, "ort_loop", &env);
    CALL(CREATE_SESSION_OPTIONS, (void **), &options);
    CALL(SET_INTRA_OP_NUM_THREADS, (void *, int), options, threads);
    CALL(SET_INTER_OP_NUM_THREADS, (void *, int), options, 1);
    CALL(CREATE_SESSION, (void *, const char *, void *, void **), env, model, options, &session);
}

static void create_input(void)
{
    void *type, *memory;
    const void *info;
    int64_t dims[8];
    size_t rank, count = 1;

    CALL(SESSION_GET_INPUT_TYPE_INFO, (void *, size_t, void **), session, 0, &type);
    CALL(CAST_TYPE_INFO_TO_TENSOR_INFO, (void *, const void **), type, &info);
    CALL(GET_DIMENSIONS_COUNT, (const void *, size_t *), info, &rank);
    CALL(GET_DIMENSIONS, (const void *, int64_t *, size_t), info, dims, rank);
    for (size_t i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    CALL(CREATE_CPU_MEMORY_INFO, (int, int, void **), DEVICE_ALLOCATOR, DEFAULT_MEMORY, &memory);
    CALL(CREATE_TENSOR_WITH_DATA,
         (void *, void *, size_t, const int64_t *, size_t, int, const void **), memory, pattern(count),
         sizeof(float) * count, dims, rank, FLOAT, &input);
}

static void name_inputs_and_outputs(void)
{
    void *allocator;

    CALL(GET_DEFAULT_ALLOCATOR, (void **), &allocator);
    CALL(SESSION_GET_INPUT_NAME, (void *, size_t, void *, const char **), session, 0, allocator,
         &input_name);
    CALL(SESSION_GET_OUTPUT_COUNT, (void *, size_t *), session, &output_count);
    if (output_count > MOST)
        output_count = MOST;
    for (size_t i = 0; i < output_count; i++)
        CALL(SESSION_GET_OUTPUT_NAME, (void *, size_t, void *, const char **), session, i, allocator,
             &output_names[i]);
}

static void infer(void)
{
    CALL(RUN,
         (void *, void *, const char *const *, const void *const *, size_t, const char *const *, size_t,
          void **),
         session, NULL, &input_name, &input, 1, output_names, output_count, outputs);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    ApiBase *(*get_base)(void) = library ? (ApiBase * (*)(void)) dlsym(library, "OrtGetApiBase") : NULL;
    if (get_base == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    api = get_base()->get_api(API_VERSION);
    create_session(argv[2], atoi(argv[3]));
    create_input();
    name_inputs_and_outputs();
    return serve(infer);
}
