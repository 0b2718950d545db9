/*
 * One inference in TNN between two marks of the counting plugin
 * (mobile_export/bench/native/insncount.c).
 *
 *   aarch64-linux-gnu-g++ -std=c++11 -O2 -static -I TNN/include benchmarks/tnn_count.cc \
 *       -o tnn_count -Wl,--whole-archive libTNN.a -Wl,--no-whole-archive -lpthread
 *   python benchmarks/tnn_counts.py ./tnn_count FILE.tnnproto… --table counts.csv
 *
 * libTNN.a is TNN's own build for aarch64 Linux with TNN_ARM_ENABLE, without OpenMP. The second
 * inference is counted, as everywhere (docs/arm-cost.md): arguments are the network, its weights,
 * the image as float32 (NCHW), and where the output goes.
 */
#include <sys/prctl.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tnn/core/instance.h"
#include "tnn/core/mat.h"
#include "tnn/core/tnn.h"
#include "tnn/utils/blob_converter.h"

using namespace TNN_NS;

enum { MARK = 0x4d420001 };

static std::string read_file(const char *path)
{
    std::ifstream stream(path, std::ios::binary);
    std::stringstream content;
    content << stream.rdbuf();
    return content.str();
}

static size_t elements(const DimsVector &dims)
{
    size_t count = 1;
    for (int size : dims)
        count *= size;
    return count;
}

static int fail(const char *what, Status *status = nullptr)
{
    fprintf(stderr, "tnn_count: %s %s\n", what, status ? status->description().c_str() : "");
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return fail("usage: tnn_count NETWORK WEIGHTS IMAGE OUTPUT");
    ModelConfig model;
    model.model_type = MODEL_TYPE_TNN;
    model.params = {read_file(argv[1]), read_file(argv[2])};
    if (model.params[1].empty()) /* TNN would go on with empty weights */
        return fail("no weights");
    NetworkConfig network;
    network.device_type = DEVICE_ARM;
    network.precision = PRECISION_HIGH;
    TNN tnn;
    Status status = tnn.Init(model);
    if (status != TNN_OK)
        return fail("load", &status);
    auto instance = tnn.CreateInst(network, status);
    if (status != TNN_OK)
        return fail("prepare", &status);
    instance->SetCpuNumThreads(1);

    BlobMap inputs, outputs;
    void *queue;
    instance->GetAllInputBlobs(inputs);
    instance->GetAllOutputBlobs(outputs);
    instance->GetCommandQueue(&queue);
    Blob *in = inputs.begin()->second, *out = outputs.begin()->second;
    Mat image(DEVICE_NAIVE, NCHW_FLOAT, in->GetBlobDesc().dims);
    Mat result(DEVICE_NAIVE, NCHW_FLOAT, out->GetBlobDesc().dims);
    std::string pixels = read_file(argv[3]);
    if (pixels.size() != sizeof(float) * elements(image.GetDims()))
        return fail("the image has another size");
    memcpy(image.GetData(), pixels.data(), pixels.size());
    BlobConverter give(in), take(out);
    MatConvertParam plain;
    for (int run = 0; run < 2; run++) {
        if (run == 1)
            prctl(MARK, 0ul, 0, 0, 0);
        if ((status = give.ConvertFromMatAsync(image, plain, queue)) != TNN_OK ||
            (status = instance->ForwardAsync(nullptr)) != TNN_OK ||
            (status = take.ConvertToMat(result, plain, queue)) != TNN_OK)
            return fail("run", &status);
        if (run == 1)
            prctl(MARK, 1ul, 0, 0, 0);
    }
    FILE *stream = fopen(argv[4], "wb");
    if (!stream)
        return fail("the output cannot be written");
    fwrite(result.GetData(), sizeof(float), elements(result.GetDims()), stream);
    return fclose(stream);
}
