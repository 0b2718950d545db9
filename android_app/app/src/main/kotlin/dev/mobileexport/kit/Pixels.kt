package dev.mobileexport.kit

/**
 * A picture of 8 bits, row by row from the top, [channels] interleaved: 3 of red, green, blue, or 1 of grey.
 */
class Pixels(val width: Int, val height: Int, val channels: Int, val bytes: ByteArray) {
    init {
        require(bytes.size == width * height * channels) { "${bytes.size} bytes for ${width}x$height of $channels channels" }
    }

    /** The value of a channel, 0 to 255. */
    fun at(x: Int, y: Int, channel: Int): Int = bytes[(y * width + x) * channels + channel].toInt() and 0xff

    /** In grey: ITU-R 601-2 luma in 16 bits, as Pillow's `convert("L")` rounds it. */
    fun grey(): Pixels {
        if (channels == 1) return this
        val out = ByteArray(width * height) { i ->
            val (r, g, b) = IntArray(3) { bytes[3 * i + it].toInt() and 0xff }
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) shr 16).toByte()
        }
        return Pixels(width, height, 1, out)
    }

    /** In three channels. */
    fun rgb(): Pixels = if (channels == 3) this else Pixels(width, height, 3, ByteArray(3 * bytes.size) { bytes[it / 3] })

    /** Turned and mirrored as the EXIF tag 0x0112 says; other numbers than 2 to 8 change nothing. */
    fun upright(orientation: Int): Pixels {
        if (orientation !in 2..8) return this
        val turned = orientation >= 5
        val (w, h) = if (turned) height to width else width to height
        val out = ByteArray(bytes.size)
        for (y in 0 until h) for (x in 0 until w) {
            val (right, down) = (width - 1) to (height - 1)
            val (fromX, fromY) = when (orientation) {
                2 -> right - x to y
                3 -> right - x to down - y
                4 -> x to down - y
                5 -> y to x
                6 -> y to down - x
                7 -> right - y to down - x
                else -> right - y to x
            }
            for (c in 0 until channels) out[(y * w + x) * channels + c] = bytes[(fromY * width + fromX) * channels + c]
        }
        return Pixels(w, h, channels, out)
    }

    companion object {
        /** Of packed ARGB, as android.graphics.Bitmap.getPixels gives them; transparency is dropped. */
        fun ofArgb(width: Int, height: Int, argb: IntArray): Pixels {
            val out = ByteArray(3 * width * height)
            for (i in argb.indices) {
                out[3 * i] = (argb[i] shr 16).toByte()
                out[3 * i + 1] = (argb[i] shr 8).toByte()
                out[3 * i + 2] = argb[i].toByte()
            }
            return Pixels(width, height, 3, out)
        }
    }

    /** Packed, opaque ARGB. */
    fun argb(): IntArray = IntArray(width * height) { i ->
        val (r, g, b) = IntArray(3) { at(i % width, i / width, if (channels == 3) it else 0) }
        (0xff shl 24) or (r shl 16) or (g shl 8) or b
    }
}
