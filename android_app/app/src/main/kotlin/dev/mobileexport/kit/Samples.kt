package dev.mobileexport.kit

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/**
 * The inputs that manifests name, as NumPy makes them: `Generator(PCG64(0))`, standard normal by the ziggurat of 256
 * layers (numpy/random/src/distributions), or 8-bit pixels. StrictMath gives the same bits on every machine.
 */
object Samples {
    /** Elements of an output that a manifest keeps at most. */
    const val KEPT = 4096
    private const val SCATTER = 2654435761L

    /** Which element of a flattened output of [count] the [k]-th kept one is. */
    fun kept(k: Int, count: Int): Int = if (count <= KEPT) k else (k * SCATTER % count).toInt()

    /**
     * [count] numbers of a sample.
     *
     * @throws Problem this app does not know it.
     */
    fun make(sample: String, count: Int): FloatArray {
        val bits = Pcg64()
        return when (sample) {
            "noise-0" -> Ziggurat().let { z -> FloatArray(count) { z.next(bits).toFloat() } }
            "pixel-noise-0" -> FloatArray(count) { (bits.next32() ushr 24).toFloat() }
            else -> throw Problem("The manifest's sample input is \"$sample\", which this app does not know. Get a newer app.")
        }
    }

    /** SHA-256 of the numbers, float32, little-endian. */
    fun sha256(values: FloatArray): String {
        val buffer = ByteBuffer.allocate(4 * values.size).order(ByteOrder.LITTLE_ENDIAN)
        buffer.asFloatBuffer().put(values)
        return hex(MessageDigest.getInstance("SHA-256").digest(buffer.array()))
    }

    /** Lower-case hexadecimal digits. */
    fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }
}

/** PCG XSL-RR 128/64 (O'Neill 2014) from the state that NumPy's seed 0 gives. */
internal class Pcg64 {
    private var high: Long
    private var low: Long
    private val incHigh: Long
    private val incLow: Long
    private var half: Int? = null

    init {
        val state = java.math.BigInteger("35399562948360463058890781895381311971")
        val increment = java.math.BigInteger("87136372517582989555478159403783844777")
        high = state.shiftRight(64).toLong()
        low = state.toLong()
        incHigh = increment.shiftRight(64).toLong()
        incLow = increment.toLong()
    }

    /** 64 random bits. */
    fun next64(): Long {
        step()
        return java.lang.Long.rotateRight(high xor low, (high ushr 58).toInt())
    }

    /** 32 random bits; the lower half of 64 first. */
    fun next32(): Int {
        half?.let {
            half = null
            return it
        }
        val both = next64()
        half = (both ushr 32).toInt()
        return both.toInt()
    }

    /** In [0, 1), of 53 bits. */
    fun nextDouble(): Double = (next64() ushr 11) * (1.0 / (1L shl 53))

    private fun step() {
        val product = low * MULTIPLIER_LOW
        var top = highOf(low, MULTIPLIER_LOW) + high * MULTIPLIER_LOW + low * MULTIPLIER_HIGH
        val sum = product + incLow
        if (java.lang.Long.compareUnsigned(sum, product) < 0) top++
        low = sum
        high = top + incHigh
    }

    /** The upper 64 bits of the unsigned product. */
    private fun highOf(a: Long, b: Long): Long {
        val mask = 0xffffffffL
        val (a0, a1) = (a and mask) to (a ushr 32)
        val (b0, b1) = (b and mask) to (b ushr 32)
        val middle = a1 * b0 + (a0 * b0 ushr 32)
        val other = a0 * b1 + (middle and mask)
        return a1 * b1 + (middle ushr 32) + (other ushr 32)
    }

    private companion object {
        const val MULTIPLIER_HIGH = 2549297995355413924L
        const val MULTIPLIER_LOW = 4865540595714422341L
    }
}

/** Normal numbers (Marsaglia and Tsang 2000), with NumPy's use of the bits. */
internal class Ziggurat {
    private val limit = LongArray(256)
    private val width = DoubleArray(256)
    private val height = DoubleArray(256)

    init {
        val last = StrictMath.exp(-0.5 * EDGE * EDGE)
        limit[0] = (EDGE / (AREA / last) * ONE).toLong()
        width[0] = AREA / last / ONE
        height[0] = 1.0
        width[255] = EDGE / ONE
        height[255] = last
        var x = EDGE
        for (i in 254 downTo 1) {
            val wider = x
            x = StrictMath.sqrt(-2 * StrictMath.log(AREA / x + StrictMath.exp(-0.5 * x * x)))
            limit[i + 1] = (x / wider * ONE).toLong()
            width[i] = x / ONE
            height[i] = StrictMath.exp(-0.5 * x * x)
        }
    }

    fun next(bits: Pcg64): Double {
        while (true) {
            val drawn = bits.next64()
            val layer = (drawn and 0xff).toInt()
            val negative = drawn ushr 8 and 1 != 0L
            val place = drawn ushr 9 and 0xfffffffffffffL
            val x = place * width[layer] * if (negative) -1 else 1
            if (place < limit[layer]) return x
            if (layer == 0) return tail(bits, place ushr 8 and 1 != 0L)
            if ((height[layer - 1] - height[layer]) * bits.nextDouble() + height[layer] < StrictMath.exp(-0.5 * x * x)) return x
        }
    }

    private fun tail(bits: Pcg64, negative: Boolean): Double {
        while (true) {
            val x = -StrictMath.log1p(-bits.nextDouble()) / EDGE
            val y = -StrictMath.log1p(-bits.nextDouble())
            if (y + y > x * x) return if (negative) -(EDGE + x) else EDGE + x
        }
    }

    private companion object {
        const val EDGE = 3.6541528853610087963519472518

        /** Of each layer: EDGE * exp(-EDGE^2 / 2) and the tail beyond it. */
        const val AREA = 0.004928673233974658
        const val ONE = 4503599627370496.0
    }
}
