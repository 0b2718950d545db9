// The five likeliest classes: index, name, probability.
static void answer(const std::vector<ncnn::Mat>& outputs, const Placement&)
{
    const ncnn::Mat& scores = outputs[@scores@];
    std::vector<double> sure(scores.w);
    std::vector<int> best(scores.w);
    for (int k = 0; k < scores.w; k++) sure[k] = scores[k];
    std::iota(best.begin(), best.end(), 0);
    std::stable_sort(best.begin(), best.end(), [&](int a, int b) { return sure[a] > sure[b]; });
    if (@logits@)
    {
        const double largest = sure[best[0]];
        for (double& each : sure) each = std::exp(each - largest);
        const double sum = std::accumulate(sure.begin(), sure.end(), 0.0);
        for (double& each : sure) each /= sum;
    }
    for (int k = 0; k < std::min(5, scores.w); k++)
        printf("%d %s %.6f\n", best[k], (size_t)best[k] < NAMES.size() ? NAMES[best[k]].c_str() : "", sure[best[k]]);
}
