package dev.mobileexport.kit

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.cos
import kotlin.math.sin

/**
 * Pillow's resampling, to the last bit: half-pixel centres, a filter that widens where the picture is made smaller
 * (antialiasing), one side after the other, rounded to 8 bits between (Pillow's src/libImaging/Resample.c).
 *
 * Android's own createScaledBitmap does something else: up to 73 of 255 apart.
 */
object Resize {
    private const val BITS = 22

    private class Filter(val support: Double, val weight: (Double) -> Double)

    private val filters = mapOf(
        "box" to Filter(0.5) { x -> if (x > -0.5 && x <= 0.5) 1.0 else 0.0 },
        "bilinear" to Filter(1.0) { x -> maxOf(0.0, 1.0 - abs(x)) },
        "hamming" to Filter(1.0) { x -> if (abs(x) >= 1) 0.0 else sinc(x) * (0.54 + 0.46 * cos(PI * x)) },
        "bicubic" to Filter(2.0) { x -> cubic(abs(x)) },
        "lanczos" to Filter(3.0) { x -> if (x >= -3 && x < 3) sinc(x) * sinc(x / 3) else 0.0 },
    )

    /** A picture of [width] by [height]; [interpolation] is one of timm's words, and bilinear where it is no filter's. */
    fun resize(picture: Pixels, width: Int, height: Int, interpolation: String): Pixels {
        val name = interpolation.lowercase()
        if (name == "nearest") return nearest(picture, width, height)
        val filter = filters[name] ?: filters.getValue("bilinear")
        // Pillow 13 begins with the columns where they shrink by more than twice what the rows do.
        if (height < picture.height && picture.height - height > 2 * (picture.width - width)) {
            return rows(columns(picture, height, filter), width, filter)
        }
        return columns(rows(picture, width, filter), height, filter)
    }

    private fun sinc(x: Double): Double = if (x == 0.0) 1.0 else sin(PI * x) / (PI * x)

    private fun cubic(x: Double): Double = when {
        x < 1 -> (1.5 * x - 2.5) * x * x + 1
        x < 2 -> (((x - 5) * x + 8) * x - 4) * -0.5
        else -> 0.0
    }

    /** For each place of the result: where its sources begin, and their weights in fixed point. */
    private class Weights(val first: IntArray, val of: Array<IntArray>)

    private fun weights(from: Int, to: Int, filter: Filter): Weights {
        val scale = from.toDouble() / to
        val widened = maxOf(scale, 1.0)
        val narrowed = 1 / widened // Pillow multiplies, and so do we: the last bit counts
        val support = filter.support * widened
        val first = IntArray(to)
        val all = Array(to) { place ->
            val centre = (place + 0.5) * scale
            first[place] = maxOf(0, (centre - support + 0.5).toInt())
            val end = minOf(from, (centre + support + 0.5).toInt())
            val row = DoubleArray(end - first[place]) { filter.weight((it + first[place] - centre + 0.5) * narrowed) }
            val sum = row.sum()
            IntArray(row.size) { fixed(if (sum == 0.0) row[it] else row[it] / sum) }
        }
        return Weights(first, all)
    }

    private fun fixed(weight: Double): Int = ((if (weight < 0) -0.5 else 0.5) + weight * (1 shl BITS)).toInt()

    private fun rows(picture: Pixels, width: Int, filter: Filter): Pixels {
        if (width == picture.width) return picture
        val n = picture.channels
        val out = ByteArray(width * picture.height * n)
        val weights = weights(picture.width, width, filter)
        for (y in 0 until picture.height) for (x in 0 until width) {
            val from = (y * picture.width + weights.first[x]) * n
            for (c in 0 until n) out[(y * width + x) * n + c] = weighted(picture.bytes, from + c, n, weights.of[x])
        }
        return Pixels(width, picture.height, n, out)
    }

    private fun columns(picture: Pixels, height: Int, filter: Filter): Pixels {
        if (height == picture.height) return picture
        val row = picture.width * picture.channels
        val out = ByteArray(row * height)
        val weights = weights(picture.height, height, filter)
        for (y in 0 until height) for (i in 0 until row) {
            out[y * row + i] = weighted(picture.bytes, weights.first[y] * row + i, row, weights.of[y])
        }
        return Pixels(picture.width, height, picture.channels, out)
    }

    private fun weighted(bytes: ByteArray, from: Int, step: Int, weights: IntArray): Byte {
        var sum = 1 shl (BITS - 1)
        for (k in weights.indices) sum += (bytes[from + k * step].toInt() and 0xff) * weights[k]
        return (sum shr BITS).coerceIn(0, 255).toByte()
    }

    private fun nearest(picture: Pixels, width: Int, height: Int): Pixels {
        val n = picture.channels
        val out = ByteArray(width * height * n)
        for (y in 0 until height) for (x in 0 until width) {
            val fromX = ((x + 0.5) * picture.width / width).toInt().coerceAtMost(picture.width - 1)
            val fromY = ((y + 0.5) * picture.height / height).toInt().coerceAtMost(picture.height - 1)
            for (c in 0 until n) out[(y * width + x) * n + c] = picture.bytes[(fromY * picture.width + fromX) * n + c]
        }
        return Pixels(width, height, n, out)
    }
}
