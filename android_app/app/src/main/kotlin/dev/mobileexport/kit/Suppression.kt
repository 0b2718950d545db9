package dev.mobileexport.kit

import kotlin.math.max
import kotlin.math.min

/** An object: [box] is left, top, right, bottom. */
class Detection(val box: DoubleArray, val score: Float, val index: Int)

/** Greedy non-maximum suppression within each class, as mobile_export.detection.suppress does it. */
object Suppression {
    /**
     * The surest first.
     *
     * @param boxes (N, 4) left, top, right, bottom.
     * @param scores (N, [classes]) probabilities.
     * @param candidates the surest pairs of box and class that are looked at.
     */
    fun suppress(
        boxes: FloatArray,
        scores: FloatArray,
        classes: Int,
        scoreThreshold: Double = 0.02,
        iouThreshold: Double = 0.45,
        candidates: Int = 1000,
        limit: Int = 200,
    ): List<Detection> {
        require(classes > 0 && boxes.size / 4 == scores.size / classes) { "${boxes.size / 4} boxes, but ${scores.size} scores of $classes classes" }
        // sortedByDescending is stable: of equal scores, the first box stays the first.
        val least = scoreThreshold.toFloat()
        val pairs = scores.indices.filter { scores[it] > least }.sortedByDescending { scores[it] }.take(candidates)
        val kept = ArrayList<Detection>()
        for (pair in pairs) {
            val (anchor, label) = pair / classes to pair % classes
            val box = DoubleArray(4) { boxes[4 * anchor + it].toDouble() }
            if (kept.none { it.index == label && overlap(it.box, box) > iouThreshold }) kept.add(Detection(box, scores[pair], label))
            if (kept.size == limit) break
        }
        return kept
    }

    /** Intersection over union; 0 where both are empty. */
    fun overlap(a: DoubleArray, b: DoubleArray): Double {
        val shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        val union = area(a) + area(b) - shared
        return if (union > 0) shared / union else 0.0
    }

    private fun area(box: DoubleArray): Double = (box[2] - box[0]) * (box[3] - box[1])
}
