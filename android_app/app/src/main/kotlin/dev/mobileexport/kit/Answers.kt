package dev.mobileexport.kit

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/** A class of the whole picture. */
data class Likely(val index: Int, val name: String?, val probability: Double)

/** An object; [box] is left, top, right, bottom in pixels of the photo. */
class Thing(val index: Int, val name: String?, val score: Double, val box: DoubleArray)

/** A class that pixels belong to, and their share of the picture. */
data class Region(val index: Int, val name: String?, val share: Double)

/** An output as numbers. */
data class Numbers(val name: String, val shape: List<Int>, val least: Float, val greatest: Float)

/** What a model says of a picture. */
sealed class Answer {
    /** The likeliest first. */
    class Classes(val classes: List<Likely>) : Answer()

    /** The surest first. */
    class Objects(val objects: List<Thing>) : Answer()

    /** [labels]: class of each pixel of a [width] by [height] map; the largest region first. */
    class Regions(val labels: IntArray, val width: Int, val height: Int, val regions: List<Region>) : Answer()

    /** A picture of the model's. */
    class Image(val pixels: Pixels) : Answer()

    /** In [0, 1]: a probability, or nearness relative to this picture ([near]). */
    class Map(val values: FloatArray, val width: Int, val height: Int, val near: Boolean) : Answer()

    /** Nobody said what the outputs mean. */
    class Unknown(val outputs: List<Numbers>) : Answer()
}

/** From a file's outputs to an answer, by the meanings in the manifest. */
object Answers {
    private const val BEST = 5
    private const val LARGEST_MAP = 1L shl 27

    /** Least and greatest value of each output; not-a-numbers are passed over. */
    fun numbers(outputs: List<Tensor>, manifest: Manifest): List<Numbers> = outputs.mapIndexed { k, each ->
        val numbers = each.values.filter { !it.isNaN() }
        Numbers(manifest.fileOutputs[k].name, each.shape.toList(), numbers.minOrNull() ?: Float.NaN, numbers.maxOrNull() ?: Float.NaN)
    }

    /**
     * The answer of the outputs, which are in the file's order and layout.
     *
     * @throws Problem an output is not what the manifest says.
     */
    fun decode(outputs: List<Tensor>, manifest: Manifest, prepared: Prepared): Answer {
        if (outputs.size != manifest.fileOutputs.size) throw Problem("The file gives ${outputs.size} outputs; its manifest says ${manifest.fileOutputs.size}.")
        val found = LinkedHashMap<String, Tensor>()
        outputs.forEachIndexed { k, tensor ->
            val port = manifest.fileOutputs[k]
            agree(tensor, port)
            val first = firstChannels(tensor, port)
            if (port.meaning != null && first.values.none { it.isNaN() || it.isInfinite() }) found.putIfAbsent(port.meaning, first)
        }
        objects(found, manifest, prepared)?.let { return Answer.Objects(it) }
        return meant(found, manifest.names, prepared) ?: Answer.Unknown(numbers(outputs, manifest))
    }

    private fun agree(tensor: Tensor, port: Port) {
        val fits = tensor.shape.size == port.shape.size && port.shape.indices.all { port.shape[it] == null || port.shape[it] == tensor.shape[it] }
        if (!fits) throw Problem("The file gives ${port.name} of shape ${tensor.shape.toList()}; its manifest says ${port.shape}. Export the model again.")
    }

    private fun firstChannels(tensor: Tensor, port: Port): Tensor {
        val (shape, layout) = tensor.shape to port.layout
        if (shape.size == 3 && layout in listOf("CHW", "HWC")) return firstChannels(Tensor(intArrayOf(1) + shape, tensor.values), port.copy(layout = "N$layout"))
        if (shape.size == 4 && layout == "NHWC") {
            return Tensor(intArrayOf(shape[0], shape[3], shape[1], shape[2]), Layout.toFirst(tensor.values, shape[3], shape[1] * shape[2]))
        }
        return tensor
    }

    private fun meant(found: kotlin.collections.Map<String, Tensor>, names: List<String>?, prepared: Prepared): Answer? {
        found["labels"]?.let { return labels(it, names) }
        (found["probabilities"] ?: found["logits"])?.let { scores ->
            val shape = scores.shape
            if (shape.size <= 2) return Answer.Classes(best(if ("probabilities" in found) doubles(scores.values) else softmax(scores.values), names))
            if (shape.size == 4 && shape[0] == 1 && shape[1] > 1) return segments(scores, names, prepared.shown.width, prepared.shown.height)
            if (shape.size == 4 && shape[0] == 1) return Answer.Map(FloatArray(scores.values.size) { scores.values[it].coerceIn(0f, 1f) }, shape[3], shape[2], false)
        }
        found["upscaled"]?.let { return image(it) }
        for (meaning in listOf("disparity", "depth")) {
            val map = found[meaning] ?: continue
            if (map.shape.size < 2) continue
            return Answer.Map(relative(map.values, meaning == "depth"), map.shape.last(), map.shape[map.shape.size - 2], true)
        }
        return null
    }

    /** In float64, without overflow. */
    fun softmax(logits: FloatArray): DoubleArray {
        val largest = logits.maxOrNull() ?: return DoubleArray(0)
        val powers = DoubleArray(logits.size) { exp(logits[it].toDouble() - largest) }
        val sum = powers.sum()
        return DoubleArray(powers.size) { powers[it] / sum }
    }

    /** The likeliest classes; of equals, the first. */
    fun best(probabilities: DoubleArray, names: List<String>?, count: Int = BEST): List<Likely> =
        probabilities.indices.sortedByDescending { probabilities[it] }.take(count).map { Likely(it, names?.getOrNull(it), probabilities[it]) }

    private fun doubles(values: FloatArray) = DoubleArray(values.size) { values[it].toDouble() }

    private fun objects(found: kotlin.collections.Map<String, Tensor>, manifest: Manifest, prepared: Prepared): List<Thing>? {
        val (boxes, scores) = (found["boxes"] ?: return null) to (found["scores"] ?: return null)
        val form = manifest.fileOutputs.first { it.meaning == "boxes" }.box
        val classes = found["classes"]
        val rows = boxes.values.size / 4
        val all = if (classes == null && manifest.suppressed == null) {
            if (rows == 0 || scores.values.size % rows != 0 || scores.values.isEmpty()) return null
            val straight = FloatArray(boxes.values.size)
            for (row in 0 until rows) edges(boxes.values, row, form, prepared).forEachIndexed { k, edge -> straight[4 * row + k] = edge.toFloat() }
            Suppression.suppress(straight, scores.values, scores.values.size / rows)
        } else {
            given(boxes, scores, classes, found["count"], form, prepared)
        }
        return all.map { each ->
            val (a, b, c, d) = prepared.placement.box(each.box, prepared.photo.width, prepared.photo.height)
            Thing(each.index, manifest.names?.getOrNull(each.index), each.score.toDouble(), doubleArrayOf(min(a, c), min(b, d), max(a, c), max(b, d)))
        }
    }

    private operator fun DoubleArray.component4() = this[3]

    /** Detections that the file itself has suppressed. */
    private fun given(boxes: Tensor, scores: Tensor, classes: Tensor?, count: Tensor?, form: BoxForm?, prepared: Prepared): List<Detection> {
        val rows = boxes.values.size / 4
        val wide = if (rows == 0) 1 else scores.values.size / rows
        val some = minOf(count?.values?.firstOrNull()?.toInt() ?: rows, rows)
        return (0 until some).mapNotNull { row ->
            val best = (0 until wide).maxByOrNull { scores.values[row * wide + it] } ?: return@mapNotNull null
            val score = scores.values[row * wide + best]
            val label = classes?.values?.getOrNull(row)?.toInt() ?: best
            if (score <= 0f) null else Detection(edges(boxes.values, row, form, prepared), score, label)
        }
    }

    /** Left, top, right, bottom in pixels of the input. */
    private fun edges(values: FloatArray, row: Int, form: BoxForm?, prepared: Prepared): DoubleArray {
        val order = form?.order ?: listOf("left", "top", "right", "bottom")
        val at = { name: String -> order.indexOf(name).let { if (it < 0) null else values[4 * row + it].toDouble() } }
        val (wide, high) = if (form?.unit == "image") prepared.shown.width to prepared.shown.height else 1 to 1
        val (x, y) = at("centre x") to at("centre y")
        val (w, h) = at("width") to at("height")
        val left = at("left") ?: ((x ?: 0.0) - (w ?: 0.0) / 2)
        val top = at("top") ?: ((y ?: 0.0) - (h ?: 0.0) / 2)
        val right = at("right") ?: (left + (w ?: 0.0))
        val bottom = at("bottom") ?: (top + (h ?: 0.0))
        return doubleArrayOf(left * wide, top * high, right * wide, bottom * high)
    }

    /**
     * The class of each pixel of [width] by [height], of (1, C, h, w) logits upsampled first: bilinear with half-pixel
     * centres, as segmenters are evaluated. One row at a time, so that a phone holds no C maps of full size.
     */
    fun segments(logits: Tensor, names: List<String>?, width: Int, height: Int): Answer.Regions {
        val (classes, h, w) = logits.shape.drop(1)
        if (classes.toLong() * width * height > LARGEST_MAP) return segments(logits, names, w, h)
        val labels = IntArray(width * height)
        val best = FloatArray(width)
        val across = Array(width) { source(it, w, width) }
        for (y in 0 until height) {
            val (above, below, down) = source(y, h, height)
            best.fill(Float.NEGATIVE_INFINITY)
            for (c in 0 until classes) for (x in 0 until width) {
                val (left, right, side) = across[x]
                val row = { r: Int -> logits.values[(c * h + r) * w + left] * (1 - side) + logits.values[(c * h + r) * w + right] * side }
                val value = row(above) * (1 - down) + row(below) * down
                if (value > best[x]) {
                    best[x] = value
                    labels[y * width + x] = c
                }
            }
        }
        return regions(labels, width, height, names)
    }

    /** The two places between which a pixel's centre lies, and its distance from the first. */
    private fun source(place: Int, from: Int, to: Int): Triple<Int, Int, Float> {
        val at = max(0.0, (place + 0.5) * from / to - 0.5)
        val first = min(floor(at).toInt(), from - 1)
        return Triple(first, min(first + 1, from - 1), (at - first).toFloat())
    }

    private fun labels(tensor: Tensor, names: List<String>?): Answer? {
        if (tensor.shape.size < 2 || tensor.values.any { it < 0 || it != floor(it) || it > 65_535 }) return null
        val (height, width) = tensor.shape.takeLast(2)
        if (width * height != tensor.values.size) return null
        return regions(IntArray(tensor.values.size) { tensor.values[it].toInt() }, width, height, names)
    }

    private fun regions(labels: IntArray, width: Int, height: Int, names: List<String>?): Answer.Regions {
        val counts = IntArray((labels.maxOrNull() ?: 0) + 1)
        for (label in labels) counts[label]++
        val order = counts.indices.filter { counts[it] > 0 }.sortedByDescending { counts[it] }
        return Answer.Regions(labels, width, height, order.map { Region(it, names?.getOrNull(it), counts[it].toDouble() / labels.size) })
    }

    private fun image(tensor: Tensor): Answer? {
        val shape = tensor.shape
        if (shape.size != 4 || shape[0] != 1 || shape[1] !in listOf(1, 3)) return null
        val last = Layout.toLast(tensor.values, shape[1], shape[2] * shape[3])
        return Answer.Image(Pixels(shape[3], shape[2], shape[1], ByteArray(last.size) { Math.rint(255.0 * last[it].coerceIn(0f, 1f)).toInt().toByte() }))
    }

    private fun relative(values: FloatArray, turned: Boolean): FloatArray {
        val (low, high) = (values.minOrNull() ?: 0f) to (values.maxOrNull() ?: 0f)
        return FloatArray(values.size) {
            val near = if (high > low) (values[it] - low) / (high - low) else 0f
            if (turned) 1 - near else near
        }
    }
}
