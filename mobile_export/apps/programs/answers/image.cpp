// The upscaled picture, as answer.ppm.
static void answer(const std::vector<ncnn::Mat>& outputs, const Placement&)
{
    const ncnn::Mat& image = outputs[@image@];
    FILE* file = fopen("answer.ppm", "wb");
    if (!file) fail("answer.ppm cannot be written.");
    fprintf(file, "P6\n%d %d\n255\n", image.w, image.h);
    for (int y = 0; y < image.h; y++)
        for (int x = 0; x < image.w; x++)
            for (int c = 0; c < 3; c++)
                fputc((int)std::nearbyint(255 * std::clamp(image.channel(image.c == 3 ? c : 0).row(y)[x], 0.f, 1.f)), file);
    fclose(file);
    printf("answer.ppm: %d x %d\n", image.w, image.h);
}
