struct Thing
{
    double left, top, right, bottom;  // in pixels of the input, then of the picture
    float score;
    int label;

    double area() const { return (right - left) * (bottom - top); }
};

static double overlap(const Thing& a, const Thing& b)
{
    const double wide = std::min(a.right, b.right) - std::max(a.left, b.left);
    const double high = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    const double both = std::max(0.0, wide) * std::max(0.0, high), all = a.area() + b.area() - both;
    return all > 0 ? both / all : 0;
}

// Boxes on the picture, those of a class that overlap a surer one left out: index, name, score, left, top, right, bottom.
static void answer(const std::vector<ncnn::Mat>& outputs, const Placement& place)
{
    const ncnn::Mat &boxes = outputs[@boxes@], &scores = outputs[@scores@];
    std::vector<Thing> all, kept;
    for (int row = 0; row < scores.h; row++)
        for (int c = 0; c < scores.w; c++)
        {
            const float *b = boxes.row(row), score = scores.row(row)[c];
            if (score > 0.02f) all.push_back({@edges@, score, c});
        }
    std::stable_sort(all.begin(), all.end(), [](const Thing& a, const Thing& b) { return a.score > b.score; });
    if (all.size() > 1000) all.erase(all.begin() + 1000, all.end());
    for (const Thing& each : all)
        if (kept.size() < 200 && std::none_of(kept.begin(), kept.end(), [&](const Thing& k) { return k.label == each.label && overlap(k, each) > 0.45; }))
            kept.push_back(each);
    for (const Thing& each : kept)
    {
        const auto x = [&](double edge) { return std::clamp((edge + place.left) / place.scale_x, 0.0, (double)place.width); };
        const auto y = [&](double edge) { return std::clamp((edge + place.top) / place.scale_y, 0.0, (double)place.height); };
        const char* name = (size_t)each.label < NAMES.size() ? NAMES[each.label].c_str() : "";
        printf("%d %s %.6f %.2f %.2f %.2f %.2f\n", each.label, name, each.score, x(each.left), y(each.top), x(each.right), y(each.bottom));
    }
}
