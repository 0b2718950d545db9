// The class of each pixel of the input, of logits upsampled first (bilinear, half-pixel centres): index, name, share.
static void answer(const std::vector<ncnn::Mat>& outputs, const Placement&)
{
    const ncnn::Mat& scores = outputs[@scores@];
    std::vector<int> labels(WIDTH * HEIGHT), counts(scores.c), order(scores.c);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
        {
            const float down = std::max(0.f, (y + 0.5f) * scores.h / HEIGHT - 0.5f), right = std::max(0.f, (x + 0.5f) * scores.w / WIDTH - 0.5f);
            const int y0 = std::min((int)down, scores.h - 1), y1 = std::min(y0 + 1, scores.h - 1);
            const int x0 = std::min((int)right, scores.w - 1), x1 = std::min(x0 + 1, scores.w - 1);
            float best = -INFINITY;
            for (int c = 0; c < scores.c; c++)
            {
                const ncnn::Mat plane = scores.channel(c);
                const auto along = [&](int row) { return plane.row(row)[x0] * (1 - (right - x0)) + plane.row(row)[x1] * (right - x0); };
                const float value = along(y0) * (1 - (down - y0)) + along(y1) * (down - y0);
                if (value > best) best = value, labels[y * WIDTH + x] = c;
            }
            counts[labels[y * WIDTH + x]]++;
        }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return counts[a] > counts[b]; });
    for (int c : order)
        if (counts[c])
            printf("%d %s %.6f\n", c, (size_t)c < NAMES.size() ? NAMES[c].c_str() : "", counts[c] / (double)(WIDTH * HEIGHT));
}
