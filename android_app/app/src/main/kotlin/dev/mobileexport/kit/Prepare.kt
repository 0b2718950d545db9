package dev.mobileexport.kit

import kotlin.math.max
import kotlin.math.min

/** Numbers with a shape, in C order. Integers of a file are kept as floats: labels are below 2^24. */
class Tensor(val shape: IntArray, val values: FloatArray)

/**
 * Where the input lies in the photo: photo = (input + offset) / scale, in pixels.
 *
 * An offset is negative where the photo was filled up.
 */
data class Placement(val scaleX: Double, val scaleY: Double, val offsetX: Int, val offsetY: Int) {
    /** A box in pixels of the input, left, top, right, bottom, in pixels of the photo, cut at its edges. */
    fun box(box: DoubleArray, width: Int, height: Int): DoubleArray {
        val x = { value: Double -> ((value + offsetX) / scaleX).coerceIn(0.0, width.toDouble()) }
        val y = { value: Double -> ((value + offsetY) / scaleY).coerceIn(0.0, height.toDouble()) }
        return doubleArrayOf(x(box[0]), y(box[1]), x(box[2]), y(box[3]))
    }
}

/** A photo, ready for the model; [shown] is what the model sees, [words] how it was made. */
class Prepared(val photo: Pixels, val shown: Pixels, val placement: Placement, val words: String)

/** From a photo to the numbers that a file takes: what the manifest's `preprocessing` and `interface` say. */
object Prepare {
    private const val MOST_RESIZED = 1L shl 26

    /**
     * Resized and cropped or filled up.
     *
     * @throws Problem the model takes no picture, or this one is far longer than wide.
     */
    fun picture(photo: Pixels, input: ModelInput, rule: Rule?): Prepared {
        if (input.shape.size != 4 || input.shape[0] != 1 || input.shape[1] !in listOf(1, 3)) {
            throw Problem("This model takes an input of shape ${input.shape.toList()}; a picture is none.")
        }
        val (height, width) = input.shape[2] to input.shape[3]
        val plain = if (input.shape[1] == 1) photo.grey() else photo.rgb()
        val size = if (rule == null) Pair(width, height) else resizedTo(plain.width, plain.height, rule)
        if (size.first.toLong() * size.second > MOST_RESIZED) {
            throw Problem("A picture of ${photo.width}x${photo.height} would be resized to ${size.first}x${size.second}. Crop it: one side is far longer than the other.")
        }
        val resized = Resize.resize(plain, size.first, size.second, rule?.interpolation ?: "bilinear")
        val (left, top) = offset(resized.width, width) to offset(resized.height, height)
        val border = rule?.cropMode == "border"
        val fill = ByteArray(plain.channels) { if (border) Math.rint(255 * input.mean[it].coerceIn(0.0, 1.0)).toInt().toByte() else 0 }
        val words = if (rule == null) {
            "stretched to ${width}x$height (no rule is known)"
        } else {
            "resized to ${size.first}x${size.second} (${rule.interpolation}), middle ${width}x$height (${rule.cropMode}); ${rule.source}"
        }
        val place = Placement(resized.width.toDouble() / photo.width, resized.height.toDouble() / photo.height, left, top)
        return Prepared(photo, cut(resized, left, top, width, height, fill), place, words)
    }

    /** The numbers of the file's input, in the order of its axes. */
    fun tensor(shown: Pixels, port: Port, input: ModelInput): Tensor {
        val n = shown.channels
        val inside = port.normalization?.inside == true
        val swapped = (port.order ?: input.order) == "BGR"
        val last = channelsLast(port)
        val area = shown.width * shown.height
        val out = FloatArray(n * area)
        for (i in 0 until area) for (c in 0 until n) {
            val pixel = shown.bytes[i * n + if (swapped) n - 1 - c else c].toInt() and 0xff
            val value = if (inside) pixel.toDouble() else (pixel / 255.0 - input.mean[c]) / input.std[c]
            out[if (last) i * n + c else c * area + i] = value.toFloat()
        }
        return Tensor(fileShape(port, input.shape), out)
    }

    /** (1, C, H, W) numbers in the order of the file's axes. */
    fun arranged(values: FloatArray, port: Port, shape: IntArray): Tensor {
        if (!channelsLast(port) || shape.size != 4) return Tensor(fileShape(port, shape), values)
        return Tensor(fileShape(port, shape), Layout.toLast(values, shape[1], shape[2] * shape[3]))
    }

    private fun channelsLast(port: Port): Boolean = port.layout?.endsWith("C") == true

    private fun fileShape(port: Port, shape: IntArray): IntArray =
        if (channelsLast(port) && shape.size == 4) intArrayOf(shape[0], shape[2], shape[3], shape[1]) else shape

    /** (width, height) to resize to: torchvision's Resize, or timm's ResizeKeepRatio. */
    private fun resizedTo(width: Int, height: Int, rule: Rule): Pair<Int, Int> {
        if (rule.cropMode == "squash") return rule.width to rule.height
        if (rule.cropMode == "center" && rule.width == rule.height) {
            val longer = (rule.width.toLong() * max(width, height) / min(width, height).toDouble()).toInt()
            return if (width <= height) rule.width to longer else longer to rule.width
        }
        val (high, wide) = height.toDouble() / rule.height to width.toDouble() / rule.width
        val ratio = if (rule.cropMode == "border") max(high, wide) else min(high, wide)
        return max(1, Math.rint(width / ratio).toInt()) to max(1, Math.rint(height / ratio).toInt())
    }

    /** Where the middle of [size] pixels begins, as torchvision's CenterCrop cuts and pads. */
    private fun offset(resized: Int, size: Int): Int =
        if (resized >= size) Math.rint((resized - size) / 2.0).toInt() else -((size - resized) / 2)

    private fun cut(from: Pixels, left: Int, top: Int, width: Int, height: Int, fill: ByteArray): Pixels {
        val n = from.channels
        val out = ByteArray(width * height * n) { fill[it % n] }
        for (y in max(0, -top) until min(height, from.height - top)) {
            val x = max(0, -left)
            val count = min(width, from.width - left) - x
            if (count > 0) System.arraycopy(from.bytes, ((y + top) * from.width + x + left) * n, out, (y * width + x) * n, count * n)
        }
        return Pixels(width, height, n, out)
    }
}

/** Turning axes. */
object Layout {
    /** (C, area) to (area, C). */
    fun toLast(values: FloatArray, channels: Int, area: Int): FloatArray =
        FloatArray(values.size) { values[(it % channels) * area + it / channels] }

    /** (area, C) to (C, area). */
    fun toFirst(values: FloatArray, channels: Int, area: Int): FloatArray =
        FloatArray(values.size) { values[(it % area) * channels + it / area] }

    /** An output of the file in the model's order of axes; what fits no way is left as it is. */
    fun ofModel(got: Tensor, port: Port, wanted: IntArray): Tensor {
        val shape = got.shape
        if (port.layout?.endsWith("C") == true && shape.size == 4) {
            val turned = intArrayOf(shape[0], shape[3], shape[1], shape[2])
            if (turned.contentEquals(wanted)) return Tensor(turned, toFirst(got.values, shape[3], shape[1] * shape[2]))
        }
        val plain = { of: IntArray -> of.filter { it != 1 } }
        return if (plain(shape) == plain(wanted)) Tensor(wanted, got.values) else got
    }
}
