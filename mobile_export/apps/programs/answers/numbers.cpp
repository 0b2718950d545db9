// Of each output: channels, height, width, least and greatest number.
static void answer(const std::vector<ncnn::Mat>& outputs, const Placement&)
{
    for (const ncnn::Mat& output : outputs)
    {
        float least = INFINITY, greatest = -INFINITY;
        for (int c = 0; c < output.c; c++)
            for (int k = 0; k < output.w * output.h * output.d; k++)
            {
                least = std::min(least, ((const float*)output.channel(c))[k]);
                greatest = std::max(greatest, ((const float*)output.channel(c))[k]);
            }
        printf("%d x %d x %d: %g to %g\n", output.c, output.h * output.d, output.w, least, greatest);
    }
}
