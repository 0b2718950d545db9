// ncnn_runner: time one ncnn model on this CPU and check what it computes.
//
//   ncnn_runner --param FILE --bin FILE --input NAME=D0,D1,..[:FILE] [options]
//
// Tensors in files are raw little-endian float32 in row-major order, outermost dimension first
// (C,H,W for an image); ncnn has no batch dimension. Times are nanoseconds of CLOCK_MONOTONIC, one
// sample per inference (create an extractor, set the inputs, extract the outputs), in the order they
// were taken.
//
// An answer is one line of stdout: a JSON object that begins with {"ncnn_runner": and ends with
// "end":true}; a line that does not end so is a torn one. Without --serve there is one answer. With
// --serve the first answer says what was loaded, and each line of stdin then gets one:
//
//   run N              N timed inferences
//   infer [PREFIX]     one inference: compares with the --expect files, writes the --output files, and
//                      output i into PREFIX<i>.f32
//   input NAME=FILE    from now on this input is FILE
//   quit               (or the end of stdin) ends the process
//
// Exit codes: 0 measured, 2 wrong arguments, 3 a file is missing or has the wrong size, 4 ncnn refused
// the model or an option, 5 an inference failed. Errors are JSON too.

#include "cpu.h"
#include "net.h"
#include "platform.h"

#include <algorithm>
#include <chrono>
#include <cerrno>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <dirent.h>
#include <sys/resource.h>

namespace {

constexpr int kSchema = 1;
constexpr int kUsage = 2, kFile = 3, kModel = 4, kInference = 5;
constexpr int kMaxLoops = 1000000, kMaxThreads = 256, kMaxDimension = 1 << 24;

const char kHelp[] =
    "usage: ncnn_runner --param FILE --bin FILE --input NAME=D0,D1,..[:FILE] [options]\n"
    "  --input NAME=D0,D1,..[:FILE]  once per input; without FILE it is a ramp in [-1, 1]\n"
    "  --expect NAME=FILE            compare this output with a tensor\n"
    "  --output NAME=FILE            write this output\n"
    "  --loops N                     timed inferences (50)\n"
    "  --warmup N                    untimed inferences before them, the first is reported (5)\n"
    "  --seconds S                   stop timing after S seconds, at least one loop is done\n"
    "  --threads N                   (1)\n"
    "  --fp16 0|1                    fp16 storage and arithmetic where the CPU has it (0)\n"
    "  --powersave 0|1|2             all, little or big cores (0)\n"
    "  --core-mask MASK              cores as a bit mask, such as 0xf0; excludes --powersave\n"
    "  --vulkan 0|1                  run on the GPU; only in a build with Vulkan (0)\n"
    "  --serve 0|1                   answer commands on stdin: run N, infer, input NAME=FILE, quit (0)\n";

// ---- JSON -------------------------------------------------------------------------------------------

std::string quoted(const std::string& text)
{
    std::string json = "\"";
    for (unsigned char c : text)
    {
        char escape[8];
        if (c == '"' || c == '\\')
            json += '\\', json += (char)c;
        else if (c < 0x20 || c >= 0x7f) // bytes of a path, one by one: stays ASCII, hence valid JSON
            snprintf(escape, sizeof(escape), "\\u%04x", c), json += escape;
        else
            json += (char)c;
    }
    return json + '"';
}

std::string number(double value)
{
    if (!std::isfinite(value))
        return "null";
    char text[32];
    snprintf(text, sizeof(text), "%.9g", value);
    return text;
}

template <typename T>
std::string integers(const std::vector<T>& values)
{
    std::string json = "[";
    for (size_t i = 0; i < values.size(); i++)
        json += (i ? "," : "") + std::to_string(values[i]);
    return json + "]";
}

// Fields of a JSON object, in the order they were added.
class Object
{
public:
    Object& add(const char* key, const std::string& json)
    {
        text_ += (text_.empty() ? "" : ",") + quoted(key) + ":" + json;
        return *this;
    }
    std::string str() const { return "{" + text_ + "}"; }

private:
    std::string text_;
};

void print_line(Object& object)
{
    // A line of its own, whatever a library has left unfinished on stdout.
    printf("\n%s\n", object.add("end", "true").str().c_str());
    fflush(stdout);
}

Object head()
{
    return Object().add("ncnn_runner", std::to_string(kSchema)).add("ncnn", quoted(NCNN_VERSION_STRING));
}

[[noreturn]] void fail(int code, const char* kind, const char* format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    fprintf(stderr, "ncnn_runner: %s\n", message);
    Object object = head();
    object.add("error", Object().add("kind", quoted(kind)).add("message", quoted(message)).str());
    print_line(object);
    exit(code);
}

// ---- arguments --------------------------------------------------------------------------------------

struct Tensor
{
    std::string name;
    std::vector<int> shape; // outermost dimension first
    std::string file;
};

struct Arguments
{
    std::string param, bin;
    std::vector<Tensor> inputs, expected, outputs;
    int loops = 50, warmup = 5, threads = 1, fp16 = 0, powersave = 0, vulkan = 0, serve = 0;
    double seconds = 0; // 0: no limit
    uint64_t core_mask = 0;
};

long long parse_integer(const char* option, const char* text, long long lowest, long long highest)
{
    char* end = nullptr;
    long long value = strtoll(text, &end, 0);
    if (end == text || *end || value < lowest || value > highest)
        fail(kUsage, "usage", "%s got '%s'; valid: a whole number from %lld to %lld", option, text, lowest,
             highest);
    return value;
}

double parse_seconds(const char* text)
{
    char* end = nullptr;
    double value = strtod(text, &end);
    if (end == text || *end || !(value > 0 && value <= 86400))
        fail(kUsage, "usage", "--seconds got '%s'; valid: a number above 0, at most 86400", text);
    return value;
}

uint64_t parse_mask(const char* text)
{
    char* end = nullptr;
    uint64_t mask = strtoull(text, &end, 0);
    if (end == text || *end || *text == '-' || mask == 0)
        fail(kUsage, "usage", "--core-mask got '%s'; valid: a bit mask such as 0xf0", text);
    return mask;
}

// "NAME=VALUE" -> (NAME, VALUE)
std::pair<std::string, std::string> parse_pair(const char* option, const std::string& text)
{
    size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
        fail(kUsage, "usage", "%s got '%s'; valid: NAME=VALUE", option, text.c_str());
    return {text.substr(0, equals), text.substr(equals + 1)};
}

// "in0=3,224,224:FILE" or "in0=3,224,224"
Tensor parse_input(const std::string& text)
{
    auto [name, value] = parse_pair("--input", text);
    size_t colon = value.find(':');
    Tensor tensor{name, {}, colon == std::string::npos ? "" : value.substr(colon + 1)};
    std::string dimensions = value.substr(0, colon);
    for (size_t start = 0; start <= dimensions.size();)
    {
        size_t comma = std::min(dimensions.find(',', start), dimensions.size());
        std::string dimension = dimensions.substr(start, comma - start);
        tensor.shape.push_back((int)parse_integer("--input", dimension.c_str(), 1, kMaxDimension));
        start = comma + 1;
    }
    if (tensor.shape.size() > 4)
        fail(kUsage, "usage", "--input %s has %zu dimensions; ncnn has at most 4", name.c_str(),
             tensor.shape.size());
    return tensor;
}

Tensor parse_file(const char* option, const std::string& text)
{
    auto [name, file] = parse_pair(option, text);
    return {name, {}, file};
}

Arguments parse_arguments(int argc, char** argv)
{
    Arguments a;
    for (int i = 1; i < argc; i += 2)
    {
        const std::string option = argv[i];
        const char* name = argv[i];
        if (option == "--help" || option == "-h")
        {
            fputs(kHelp, stdout);
            exit(0);
        }
        if (i + 1 == argc)
            fail(kUsage, "usage", "%s has no value, or is not an option; --help lists them", name);
        const char* value = argv[i + 1];
        if (option == "--param") a.param = value;
        else if (option == "--bin") a.bin = value;
        else if (option == "--input") a.inputs.push_back(parse_input(value));
        else if (option == "--expect") a.expected.push_back(parse_file(name, value));
        else if (option == "--output") a.outputs.push_back(parse_file(name, value));
        else if (option == "--loops") a.loops = (int)parse_integer(name, value, 1, kMaxLoops);
        else if (option == "--warmup") a.warmup = (int)parse_integer(name, value, 1, kMaxLoops);
        else if (option == "--seconds") a.seconds = parse_seconds(value);
        else if (option == "--threads") a.threads = (int)parse_integer(name, value, 1, kMaxThreads);
        else if (option == "--fp16") a.fp16 = (int)parse_integer(name, value, 0, 1);
        else if (option == "--powersave") a.powersave = (int)parse_integer(name, value, 0, 2);
        else if (option == "--core-mask") a.core_mask = parse_mask(value);
        else if (option == "--vulkan") a.vulkan = (int)parse_integer(name, value, 0, 1);
        else if (option == "--serve") a.serve = (int)parse_integer(name, value, 0, 1);
        else fail(kUsage, "usage", "unknown option '%s'; --help lists them", name);
    }
    if (a.param.empty() || a.bin.empty())
        fail(kUsage, "usage", "--param and --bin are both needed; --help lists the options");
    if (a.core_mask && a.powersave)
        fail(kUsage, "usage", "--core-mask and --powersave exclude each other");
    return a;
}

// ---- files and tensors ------------------------------------------------------------------------------

FILE* open_or_fail(const std::string& path, const char* mode)
{
    FILE* file = fopen(path.c_str(), mode);
    if (!file)
        fail(kFile, "file", "cannot open %s: %s", path.c_str(), strerror(errno));
    return file;
}

void check_readable(const std::string& path) { fclose(open_or_fail(path, "rb")); }

// A file of exactly `count` floats.
std::vector<float> read_floats(const std::string& path, size_t count)
{
    FILE* file = open_or_fail(path, "rb");
    fseek(file, 0, SEEK_END);
    const long bytes = ftell(file);
    rewind(file);
    if (bytes < 0 || (size_t)bytes != count * sizeof(float))
        fail(kFile, "file", "%s has %ld bytes; %zu float32 values need %zu", path.c_str(), bytes, count,
             count * sizeof(float));
    std::vector<float> values(count);
    if (fread(values.data(), sizeof(float), count, file) != count)
        fail(kFile, "file", "cannot read %s: %s", path.c_str(), strerror(errno));
    fclose(file);
    return values;
}

void write_floats(const std::string& path, const std::vector<float>& values)
{
    FILE* file = open_or_fail(path, "wb");
    const size_t written = fwrite(values.data(), sizeof(float), values.size(), file);
    if (fclose(file) != 0 || written != values.size())
        fail(kFile, "file", "cannot write %s: %s", path.c_str(), strerror(errno));
}

std::vector<float> ramp(size_t count)
{
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(i % 255) / 127.f - 1.f;
    return values;
}

// A Mat pads its channels, so a tensor goes in and out channel by channel.
ncnn::Mat make_mat(const std::vector<int>& s, const std::vector<float>& values)
{
    ncnn::Mat mat = s.size() == 1   ? ncnn::Mat(s[0])
                    : s.size() == 2 ? ncnn::Mat(s[1], s[0])
                    : s.size() == 3 ? ncnn::Mat(s[2], s[1], s[0])
                                    : ncnn::Mat(s[3], s[2], s[1], s[0]);
    if (mat.empty())
        fail(kInference, "inference", "out of memory for an input of %zu values", values.size());
    const size_t channel = (size_t)mat.w * mat.h * mat.d;
    for (int q = 0; q < mat.c; q++)
        memcpy(mat.channel(q).data, values.data() + q * channel, channel * sizeof(float));
    return mat;
}

std::vector<int> shape_of(const ncnn::Mat& mat)
{
    if (mat.dims == 1) return {mat.w};
    if (mat.dims == 2) return {mat.h, mat.w};
    if (mat.dims == 3) return {mat.c, mat.h, mat.w};
    return {mat.c, mat.d, mat.h, mat.w};
}

std::vector<float> values_of(const ncnn::Mat& mat)
{
    const size_t channel = (size_t)mat.w * mat.h * mat.d;
    std::vector<float> values(channel * mat.c);
    for (int q = 0; q < mat.c; q++)
        memcpy(values.data() + q * channel, mat.channel(q).data, channel * sizeof(float));
    return values;
}

// max_rel is relative to the largest expected magnitude, as in mobile_export/parity.py.
std::string compare(const std::vector<float>& actual, const std::vector<float>& expected)
{
    double max_abs = 0, scale = 0;
    size_t worst = 0, nonfinite = 0;
    for (size_t i = 0; i < actual.size(); i++)
    {
        nonfinite += !std::isfinite(actual[i]);
        scale = std::max(scale, std::fabs((double)expected[i]));
        const double difference = std::fabs((double)actual[i] - (double)expected[i]);
        if (difference > max_abs)
            max_abs = difference, worst = i;
    }
    return Object()
        .add("max_abs", number(nonfinite ? NAN : max_abs))
        .add("max_rel", number(nonfinite ? NAN : scale > 0 ? max_abs / scale : max_abs > 0 ? INFINITY : 0))
        .add("worst_index", std::to_string(worst))
        .add("nonfinite", std::to_string(nonfinite))
        .str();
}

// ---- the machine ------------------------------------------------------------------------------------

std::string cpu_features()
{
    const std::pair<const char*, int> features[] = {
#if defined(__aarch64__)
        {"asimd", ncnn::cpu_support_arm_neon()}, {"asimdhp", ncnn::cpu_support_arm_asimdhp()},
        {"asimddp", ncnn::cpu_support_arm_asimddp()}, {"asimdfhm", ncnn::cpu_support_arm_asimdfhm()},
        {"bf16", ncnn::cpu_support_arm_bf16()}, {"i8mm", ncnn::cpu_support_arm_i8mm()},
        {"sve", ncnn::cpu_support_arm_sve()}, {"sve2", ncnn::cpu_support_arm_sve2()},
#elif defined(__x86_64__)
        {"avx", ncnn::cpu_support_x86_avx()}, {"fma", ncnn::cpu_support_x86_fma()},
        {"f16c", ncnn::cpu_support_x86_f16c()}, {"avx2", ncnn::cpu_support_x86_avx2()},
        {"avx_vnni", ncnn::cpu_support_x86_avx_vnni()}, {"avx512", ncnn::cpu_support_x86_avx512()},
        {"avx512_fp16", ncnn::cpu_support_x86_avx512_fp16()},
#endif
        {"", 0}};
    std::string json = "[";
    for (const auto& [name, supported] : features)
        if (supported)
            json += (json.size() > 1 ? "," : "") + quoted(name);
    return json + "]";
}

std::string cpu_facts()
{
    return Object()
        .add("all", std::to_string(ncnn::get_cpu_count()))
        .add("big", std::to_string(ncnn::get_big_cpu_count()))
        .add("little", std::to_string(ncnn::get_little_cpu_count()))
        .add("features", cpu_features())
        .str();
}

// Highest resident size. ru_maxrss of a new program begins with that of its parent; VmHWM does not.
long long peak_memory_bytes()
{
    long long kilobytes = 0;
    char line[256];
    if (FILE* file = fopen("/proc/self/status", "r"))
    {
        while (fgets(line, sizeof(line), file) && sscanf(line, "VmHWM: %lld", &kilobytes) != 1) {}
        fclose(file);
    }
    return kilobytes * 1024;
}

// What this process has used so far, or has been denied; -1 where the kernel hides it.
struct Usage
{
    long long cpu_ns = 0;
    long long waited_ns = 0; // its threads were ready and had no core
    long long switches = 0;  // involuntary: others took its cores
};

long long waited_ns()
{
    DIR* tasks = opendir("/proc/self/task");
    if (!tasks)
        return -1;
    long long total = 0;
    while (const dirent* task = readdir(tasks))
    {
        if (task->d_name[0] == '.')
            continue;
        long long waited = -1;
        FILE* file = fopen((std::string("/proc/self/task/") + task->d_name + "/schedstat").c_str(), "r");
        if (file)
            total += fscanf(file, "%*d %lld", &waited) == 1 ? waited : 0, fclose(file);
        if (waited < 0)
        {
            total = -1;
            break;
        }
    }
    closedir(tasks);
    return total;
}

Usage usage_of_process()
{
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto nanoseconds = [](const timeval& t) { return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL; };
    return {nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime), waited_ns(), usage.ru_nivcsw};
}

void bind_cores(const Arguments& a)
{
    if (a.powersave && ncnn::set_cpu_powersave(a.powersave) != 0)
        fail(kModel, "affinity", "this system did not bind to --powersave %d", a.powersave);
    if (!a.core_mask)
        return;
    ncnn::CpuSet cores;
    cores.disable_all();
    for (int i = 0; i < 64; i++)
        if (a.core_mask >> i & 1)
            cores.enable(i);
    if (ncnn::set_cpu_thread_affinity(cores) != 0)
        fail(kModel, "affinity", "this system did not bind to --core-mask 0x%llx; it has %d cores",
             (unsigned long long)a.core_mask, ncnn::get_cpu_count());
}

// ---- the network ------------------------------------------------------------------------------------

using Clock = std::chrono::steady_clock;

long long nanoseconds_since(Clock::time_point start)
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

void set_options(ncnn::Net& net, const Arguments& a)
{
    net.opt.num_threads = a.threads;
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = a.fp16;
#if NCNN_VULKAN
    net.opt.use_vulkan_compute = a.vulkan;
#else
    if (a.vulkan)
        fail(kModel, "vulkan", "this runner was built without Vulkan");
#endif
}

void load(ncnn::Net& net, const Arguments& a)
{
    check_readable(a.param);
    check_readable(a.bin);
    if (net.load_param(a.param.c_str()) != 0)
        fail(kModel, "model", "ncnn could not read the network %s", a.param.c_str());
    if (net.load_model(a.bin.c_str()) != 0)
        fail(kModel, "model", "the weights %s do not fit the network", a.bin.c_str());
}

std::string joined(const std::vector<const char*>& names)
{
    std::string text;
    for (const char* name : names)
        text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
}

bool contains(const std::vector<const char*>& names, const std::string& name)
{
    return std::any_of(names.begin(), names.end(), [&](const char* n) { return name == n; });
}

void check_names(const ncnn::Net& net, const Arguments& a)
{
    const auto& inputs = net.input_names();
    if (a.inputs.size() != inputs.size())
        fail(kUsage, "usage", "%zu --input given; the network has %zu: %s", a.inputs.size(), inputs.size(),
             joined(inputs).c_str());
    for (const Tensor& tensor : a.inputs)
        if (!contains(inputs, tensor.name))
            fail(kUsage, "usage", "the network has no input '%s'; it has: %s", tensor.name.c_str(),
                 joined(inputs).c_str());
    for (const auto* tensors : {&a.expected, &a.outputs})
        for (const Tensor& tensor : *tensors)
            if (!contains(net.output_names(), tensor.name))
                fail(kUsage, "usage", "the network has no output '%s'; it has: %s", tensor.name.c_str(),
                     joined(net.output_names()).c_str());
}

ncnn::Mat read_input(const Tensor& tensor)
{
    size_t count = 1;
    for (int dimension : tensor.shape)
        count *= (size_t)dimension;
    return make_mat(tensor.shape, tensor.file.empty() ? ramp(count) : read_floats(tensor.file, count));
}

// A loaded network with its inputs and the outputs of the last inference.
class Session
{
public:
    explicit Session(const Arguments& a) : a_(a)
    {
        bind_cores(a);
        set_options(net_, a);
        const auto start = Clock::now();
        load(net_, a);
        load_ns_ = nanoseconds_since(start);
        loaded_bytes_ = peak_memory_bytes();
        check_names(net_, a);
        for (const Tensor& tensor : a.inputs)
            inputs_.push_back(read_input(tensor));
        outputs_.resize(net_.output_names().size());
    }

    void describe(Object& object) const
    {
        object.add("options", describe_options()).add("cpu", cpu_facts());
        object.add("load_ns", std::to_string(load_ns_));
        object.add("loaded_memory_bytes", std::to_string(loaded_bytes_));
    }

    void set_input(const Tensor& given)
    {
        for (size_t i = 0; i < a_.inputs.size(); i++)
            if (a_.inputs[i].name == given.name)
            {
                inputs_[i] = read_input({given.name, a_.inputs[i].shape, given.file});
                return;
            }
        fail(kUsage, "usage", "the network has no input '%s'", given.name.c_str());
    }

    // One inference. The extractor takes inputs by reference: nothing is copied.
    long long infer()
    {
        const auto start = Clock::now();
        ncnn::Extractor extractor = net_.create_extractor();
        for (size_t i = 0; i < inputs_.size(); i++)
            if (extractor.input(a_.inputs[i].name.c_str(), inputs_[i]) != 0)
                fail(kInference, "inference", "ncnn refused the input '%s'", a_.inputs[i].name.c_str());
        for (size_t i = 0; i < outputs_.size(); i++)
            if (extractor.extract(net_.output_names()[i], outputs_[i]) != 0 || outputs_[i].empty())
                fail(kInference, "inference", "ncnn could not compute the output '%s'", net_.output_names()[i]);
        return nanoseconds_since(start);
    }

    std::vector<long long> infer(int count, double seconds = 0)
    {
        std::vector<long long> samples;
        samples.reserve((size_t)count);
        const auto start = Clock::now();
        for (int i = 0; i < count; i++)
        {
            samples.push_back(infer());
            if (seconds > 0 && (double)nanoseconds_since(start) >= seconds * 1e9)
                break;
        }
        return samples;
    }

    // Timed inferences, and what they cost beside time.
    void measure(Object& object, int count, double seconds = 0)
    {
        const Usage before = usage_of_process();
        const auto start = Clock::now();
        const std::vector<long long> samples = infer(count, seconds);
        const long long wall_ns = nanoseconds_since(start);
        const Usage after = usage_of_process();
        const bool hidden = before.waited_ns < 0 || after.waited_ns < 0;
        object.add("samples_ns", integers(samples)).add("wall_ns", std::to_string(wall_ns));
        object.add("cpu_ns", std::to_string(after.cpu_ns - before.cpu_ns));
        object.add("waited_ns", hidden ? "null" : std::to_string(after.waited_ns - before.waited_ns));
        object.add("switches", std::to_string(after.switches - before.switches));
        object.add("peak_memory_bytes", std::to_string(peak_memory_bytes()));
    }

    // Writes and compares the outputs of the last inference.
    void check_outputs(Object& object, const std::string& prefix = "") const
    {
        std::string json = "[";
        for (size_t i = 0; i < outputs_.size(); i++)
        {
            json += (i ? "," : "") + check_output(net_.output_names()[i], outputs_[i]);
            if (!prefix.empty())
                write_floats(prefix + std::to_string(i) + ".f32", values_of(outputs_[i]));
        }
        object.add("outputs", json + "]");
    }

private:
    std::string check_output(const std::string& name, const ncnn::Mat& mat) const
    {
        if (mat.elempack != 1 || mat.elemsize != sizeof(float) || mat.n != 1)
            fail(kInference, "inference", "the output '%s' is not one plain float32 tensor", name.c_str());
        const std::vector<float> values = values_of(mat);
        Object object;
        object.add("name", quoted(name)).add("shape", integers(shape_of(mat)));
        for (const Tensor& tensor : a_.outputs)
            if (tensor.name == name)
                write_floats(tensor.file, values);
        for (const Tensor& tensor : a_.expected)
            if (tensor.name == name)
                object.add("error", compare(values, read_floats(tensor.file, values.size())));
        return object.str();
    }

    std::string describe_options() const
    {
        return Object()
            .add("threads", std::to_string(a_.threads))
            .add("fp16", a_.fp16 ? "true" : "false")
            .add("powersave", std::to_string(a_.powersave))
            .add("core_mask", std::to_string(a_.core_mask))
            .add("vulkan", a_.vulkan ? "true" : "false")
            .str();
    }

    const Arguments& a_;
    ncnn::Net net_;
    std::vector<ncnn::Mat> inputs_, outputs_;
    long long load_ns_ = 0, loaded_bytes_ = 0;
};

// ---- the two ways to use it -------------------------------------------------------------------------

void measure_once(Session& session, const Arguments& a)
{
    Object object = head();
    session.describe(object);
    const std::vector<long long> warmup = session.infer(a.warmup);
    object.add("first_ns", std::to_string(warmup.front())).add("warmup_ns", integers(warmup));
    session.measure(object, a.loops, a.seconds);
    session.check_outputs(object);
    print_line(object);
}

// Answers one command; false for the last.
bool answer(Session& session, const std::string& line)
{
    const size_t space = std::min(line.find(' '), line.size());
    const std::string command = line.substr(0, space);
    const std::string rest = space < line.size() ? line.substr(space + 1) : "";
    Object object = head();
    if (command == "quit")
        return false;
    if (command == "run")
        session.measure(object, (int)parse_integer("run", rest.c_str(), 1, kMaxLoops));
    else if (command == "infer")
        object.add("infer_ns", std::to_string(session.infer())), session.check_outputs(object, rest);
    else if (command == "input")
        session.set_input(parse_file("input", rest));
    else
        fail(kUsage, "usage", "unknown command '%s'; valid: run N, infer [PREFIX], input NAME=FILE, quit",
             command.c_str());
    print_line(object);
    return true;
}

void serve(Session& session)
{
    Object object = head();
    session.describe(object);
    print_line(object);
    char line[4096];
    while (fgets(line, sizeof(line), stdin))
    {
        line[strcspn(line, "\r\n")] = 0;
        if (*line && !answer(session, line))
            return;
    }
}

} // namespace

int main(int argc, char** argv)
{
    const Arguments a = parse_arguments(argc, argv);
    Session session(a);
    if (a.serve)
        serve(session);
    else
        measure_once(session, a);
    return 0;
}
