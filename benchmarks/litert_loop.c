/* A bare loop over LiteRT's C API (compiled models), for bench_agreement.py.
 *
 *     litert_loop LIBRARY MODEL THREADS
 *
 * LIBRARY is libLiteRt.so of the wheel ai-edge-litert. The wheel has no headers: the functions are
 * found by name, and the two structures that cross the border are declared here as litert/c declares
 * them "ABI stable" (litert_model_types.h, litert_layout.h). The CPU accelerator is XNNPACK, as in the
 * interpreter. Seen to work with 2.3.0.
 * Build: cc -O2 litert_loop.c -ldl -o litert_loop
 */
#include <dlfcn.h>

#include "loop.h"

enum { CPU = 1, WRITE = 1, MOST = 16 };

typedef struct {
    unsigned rank : 7;
    unsigned has_strides : 1;
    int32_t dimensions[8];
    uint32_t strides[8];
} Layout;

typedef struct {
    int element_type;
    Layout layout;
} TensorType;

static void *library;
static int (*run)(void *, size_t, size_t, void **, size_t, void **);
static void *environment, *model, *compiled, *signature;
static void *inputs[1], *outputs[MOST];
static size_t output_count;

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static void check(int status, const char *name)
{
    if (status != 0) {
        fprintf(stderr, "%s failed with status %d\n", name, status);
        exit(1);
    }
}

#define CALL(name, types, ...) check(((int(*) types)find(#name))(__VA_ARGS__), #name)

static void keep(void *payload)
{
    (void)payload; /* the options of the CPU live as long as this process */
}

static void compile(const char *path, int threads)
{
    static char cpu_options[32];
    void *options, *opaque;

    snprintf(cpu_options, sizeof(cpu_options), "num_threads = %d\n", threads);
    CALL(LiteRtCreateEnvironment, (int, const void *, void **), 0, NULL, &environment);
    CALL(LiteRtCreateModelFromFile, (void *, const char *, void **), environment, path, &model);
    CALL(LiteRtCreateOptions, (void **), &options);
    CALL(LiteRtSetOptionsHardwareAccelerators, (void *, int), options, CPU);
    CALL(LiteRtCreateOpaqueOptions, (const char *, void *, void (*)(void *), void **), "xnnpack",
         cpu_options, keep, &opaque);
    CALL(LiteRtAddOpaqueOptions, (void *, void *), options, opaque);
    CALL(LiteRtCreateCompiledModel, (void *, void *, void *, void **), environment, model, options,
         &compiled);
    CALL(LiteRtGetModelSignature, (void *, size_t, void **), model, 0, &signature);
}

static void *buffer_of(void *tensor, void *requirements, size_t *floats)
{
    TensorType type;
    void *buffer;

    CALL(LiteRtGetRankedTensorType, (void *, TensorType *), tensor, &type);
    CALL(LiteRtCreateManagedTensorBufferFromRequirements, (void *, TensorType *, void *, void **),
         environment, &type, requirements, &buffer);
    *floats = 1;
    for (unsigned i = 0; i < type.layout.rank; i++)
        *floats *= (size_t)type.layout.dimensions[i];
    return buffer;
}

static void create_input(void)
{
    void *tensor, *requirements, *place;
    size_t floats;

    CALL(LiteRtGetSignatureInputTensorByIndex, (void *, size_t, void **), signature, 0, &tensor);
    CALL(LiteRtGetCompiledModelInputBufferRequirements, (void *, size_t, size_t, void **), compiled, 0,
         0, &requirements);
    inputs[0] = buffer_of(tensor, requirements, &floats);
    CALL(LiteRtLockTensorBuffer, (void *, void **, int), inputs[0], &place, WRITE);
    float *image = pattern(floats);
    for (size_t i = 0; i < floats; i++)
        ((float *)place)[i] = image[i];
    free(image);
    CALL(LiteRtUnlockTensorBuffer, (void *), inputs[0]);
}

static void create_outputs(void)
{
    void *tensor, *requirements;
    size_t floats;

    CALL(LiteRtGetNumSignatureOutputs, (void *, size_t *), signature, &output_count);
    for (size_t i = 0; i < output_count && i < MOST; i++) {
        CALL(LiteRtGetSignatureOutputTensorByIndex, (void *, size_t, void **), signature, i, &tensor);
        CALL(LiteRtGetCompiledModelOutputBufferRequirements, (void *, size_t, size_t, void **),
             compiled, 0, i, &requirements);
        outputs[i] = buffer_of(tensor, requirements, &floats);
    }
}

static void infer(void)
{
    check(run(compiled, 0, 1, inputs, output_count, outputs), "LiteRtRunCompiledModel");
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    compile(argv[2], atoi(argv[3]));
    create_input();
    create_outputs();
    run = (int (*)(void *, size_t, size_t, void **, size_t, void **))find("LiteRtRunCompiledModel");
    return serve(infer);
}
