// @title@ on a picture, by ncnn.
//
//     g++ -std=c++17 -O2 program.cpp -I NCNN/include/ncnn -I /usr/include/stb NCNN/lib/libncnn.a -fopenmp -o program
//     ./program PICTURE
//
// It is run where the .param and the .bin lie. stb_image.h (Debian: libstb-dev) reads JPEG and PNG, and does not turn
// photos by their EXIF; an app gives the pixels of its camera instead.
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

#include <net.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

// ---- from the manifest ---------------------------------------------------------------------------------------------

constexpr int WIDTH = @width@, HEIGHT = @height@, CHANNELS = @channels@;
constexpr int ORDER[] = {@order@};  // of the file's channels, in red, green, blue
constexpr double SCALE = @scale@, MEAN[] = {@mean@}, STD[] = {@std@};  // (pixel * SCALE - MEAN) / STD
constexpr unsigned char FILL[] = {@fill@};
const std::vector<std::string> NAMES = {@names@};

// Width and height of the whole picture before its middle is cut out@source@.
static void resized_size(double width, double height, double& wide, double& high)
{
@size@
}

// ---- pictures ------------------------------------------------------------------------------------------------------

struct Picture
{
    int width, height;
    std::vector<unsigned char> bytes;  // row by row, CHANNELS interleaved

    Picture(int w, int h) : width(w), height(h), bytes((size_t)w * h * CHANNELS) {}
    unsigned char* at(int x, int y) { return &bytes[((size_t)y * width + x) * CHANNELS]; }
    const unsigned char* at(int x, int y) const { return &bytes[((size_t)y * width + x) * CHANNELS]; }
};

// Where the input lies in the picture: picture = (input + offset) / scale.
struct Placement
{
    int width, height;  // of the picture
    double scale_x, scale_y;
    int left, top;
};

[[noreturn]] static void fail(const std::string& said)
{
    fprintf(stderr, "%s\n", said.c_str());
    exit(1);
}

@filter@

// One side made `to` pixels long, as Pillow does it: half-pixel centres, a filter that widens where the picture becomes
// smaller (antialiasing), weights in fixed point of 22 bits, sums rounded to 8 bits.
static Picture with_side(const Picture& from, int to, bool across)
{
    const int have = across ? from.width : from.height, lines = across ? from.height : from.width;
    if (have == to) return from;
    Picture made(across ? to : from.width, across ? from.height : to);
    const double scale = (double)have / to, widened = std::max(scale, 1.0), narrowed = 1 / widened;
    for (int place = 0; place < to; place++)
    {
        const double centre = (place + 0.5) * scale;
        const int first = NEAREST ? std::min((int)centre, have - 1) : std::max(0, (int)(centre - SUPPORT * widened + 0.5));
        const int end = NEAREST ? first + 1 : std::min(have, (int)(centre + SUPPORT * widened + 0.5));
        std::vector<double> weights;
        for (int k = first; k < end; k++) weights.push_back(NEAREST ? 1 : filter((k - centre + 0.5) * narrowed));
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        std::vector<int> fixed;
        for (double each : weights) fixed.push_back((int)std::lround((sum == 0 ? each : each / sum) * (1 << 22)));
        for (int line = 0; line < lines; line++)
            for (int c = 0; c < CHANNELS; c++)
            {
                int total = 1 << 21;
                for (int k = first; k < end; k++)
                    total += fixed[k - first] * (across ? from.at(k, line) : from.at(line, k))[c];
                (across ? made.at(place, line) : made.at(line, place))[c] = (unsigned char)std::clamp(total >> 22, 0, 255);
            }
    }
    return made;
}

static Picture resized(const Picture& from, int width, int height)
{
    // Pillow 13 begins with the columns where they shrink by more than twice what the rows do.
    if (height < from.height && from.height - height > 2 * (from.width - width))
        return with_side(with_side(from, height, false), width, true);
    return with_side(with_side(from, width, true), height, false);
}

static Picture read(const char* path)
{
    int width, height, channels;
    unsigned char* rgb = stbi_load(path, &width, &height, &channels, 3);
    if (!rgb) fail(std::string(path) + " cannot be read: " + stbi_failure_reason());
    Picture picture(width, height);
    for (size_t i = 0; i < (size_t)width * height; i++)
    {
        const unsigned char* p = rgb + 3 * i;
        if (CHANNELS == 3) std::copy(p, p + 3, &picture.bytes[3 * i]);
        else picture.bytes[i] = (unsigned char)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
    }
    stbi_image_free(rgb);
    return picture;
}

static int middle(int resized, int size)
{
    return resized >= size ? (int)std::nearbyint((resized - size) / 2.0) : -((size - resized) / 2);
}

static ncnn::Mat prepare(const Picture& picture, Placement& place)
{
    double wide, high;
    resized_size(picture.width, picture.height, wide, high);
    if (wide > 65535 || high > 65535 || wide * high > 1 << 26) fail("One side of the picture is far longer than the other: crop it.");
    const Picture whole = resized(picture, (int)wide, (int)high);
    place = {picture.width, picture.height, wide / picture.width, high / picture.height, middle((int)wide, WIDTH), middle((int)high, HEIGHT)};
    ncnn::Mat input(WIDTH, HEIGHT, CHANNELS);
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
            {
                const int from_x = x + place.left, from_y = y + place.top, from_c = ORDER[c];
                const bool inside = from_x >= 0 && from_y >= 0 && from_x < whole.width && from_y < whole.height;
                const int pixel = inside ? whole.at(from_x, from_y)[from_c] : FILL[from_c];
                input.channel(c).row(y)[x] = (float)((pixel * SCALE - MEAN[c]) / STD[c]);
            }
    return input;
}

// ---- the answer ----------------------------------------------------------------------------------------------------

@answer@

int main(int count, char** words)
{
    if (count != 2) fail("usage: program PICTURE");
    ncnn::Net net;
    // Without float16 the file computes what its check compared. With it, the default, it is faster on a phone; the
    // manifest says how far off.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;
    if (net.load_param(@file@) || net.load_model(@weights@)) fail("The file cannot be loaded.");
    Placement place;
    const ncnn::Mat input = prepare(read(words[1]), place);
    ncnn::Extractor extractor = net.create_extractor();
    if (extractor.input(@input@, input)) fail("The file has no such input.");
    std::vector<ncnn::Mat> outputs;
    for (const char* name : {@outputs@})
    {
        ncnn::Mat output;
        if (extractor.extract(name, output)) fail(std::string("The file cannot be run: ") + name);
        outputs.push_back(output);
    }
    answer(outputs, place);
}
