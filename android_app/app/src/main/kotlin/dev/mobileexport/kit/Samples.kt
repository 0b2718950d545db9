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
            "noise-0" -> FloatArray(count) { Ziggurat.next(bits).toFloat() }
            "pixel-noise-0" -> FloatArray(count) { (bits.next32() ushr 24).toFloat() }
            else -> throw Problem("The manifest's sample input is \"$sample\", which this app does not know. Get a newer app.")
        }
    }

    /** The first normal numbers of "noise-0", before they are rounded to float32. */
    fun normals(count: Int): DoubleArray = Pcg64().let { bits -> DoubleArray(count) { Ziggurat.next(bits) } }

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
internal object Ziggurat {
    private const val EDGE = 3.6541528853610087963519472518
    private const val ONE = 4503599627370496.0

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

    /**
     * Of each layer, divided by 2^52. NumPy's are a little beside the exact ones, by up to 2e-14, enough to change a
     * float32 now and then; these were found from what its generator gives.
     */
    private val width = DoubleArray(256) { java.lang.Double.longBitsToDouble(WIDTHS[it]) }

    private val height = DoubleArray(256) { if (it == 0) 1.0 else StrictMath.exp(-0.5 * (width[it] * ONE) * (width[it] * ONE)) }

    /** Below it a place in the layer is under the curve for certain. */
    private val limit = LongArray(256) {
        val inner = if (it == 0) EDGE / ONE else width[it - 1]
        if (it == 1) 0 else (inner / width[it] * ONE).toLong()
    }

    private val WIDTHS: LongArray
        get() = longArrayOf(
            0x3ccf493b7815d979, 0x3c8b8d0be3fdf6c6, 0x3c9250af3c2c5bb4, 0x3c957cb938443b61, 0x3c9801fce82fa70c, 0x3c9a230c2e4cd0bc,
            0x3c9c004d2f3861f7, 0x3c9dac2f5a747274, 0x3c9f32482d4cd5c3, 0x3ca04d32278ebbad, 0x3ca0f5053b025d43, 0x3ca192a697413677,
            0x3ca227a28f7a1af5, 0x3ca2b52e3863d880, 0x3ca33c3fc05791f5, 0x3ca3bd9ec1a2b12f, 0x3ca439ef8dff9b55, 0x3ca4b1bb363dfea7,
            0x3ca52575621ad374, 0x3ca59580a707ce96, 0x3ca60231cfd97eea, 0x3ca66bd261a37c3d, 0x3ca6d2a292000570, 0x3ca736dad346f8a6,
            0x3ca798ad10b32a77, 0x3ca7f845ad46f543, 0x3ca855cc53430a77, 0x3ca8b1649e7b769a, 0x3ca90b2ea94ecf98, 0x3ca96347822c1eea,
            0x3ca9b9c98e38c546, 0x3caa0eccdca4a72c, 0x3caa62676d77cd59, 0x3caab4ad6e101630, 0x3cab05b16d136c9c, 0x3cab558487427a29,
            0x3caba4368e529f3a, 0x3cabf1d62abf8232, 0x3cac3e70f9594ef3, 0x3cac8a13a5323b61, 0x3cacd4c9fe72268b, 0x3cad1e9f0e80b748,
            0x3cad679d29e41f10, 0x3cadafce0023b8c3, 0x3cadf73aa9f17653, 0x3cae3debb5d2edfe, 0x3cae83e9337a6f00, 0x3caec93abdf982ce,
            0x3caf0de784f06226, 0x3caf51f654d8f688, 0x3caf956d9e87d7ae, 0x3cafd8537dfa2eac, 0x3cb00d56e04234ec, 0x3cb02e40f5398f9a,
            0x3cb04eea9e16a5fc, 0x3cb06f565b72a010, 0x3cb08f869071f40b, 0x3cb0af7d84bc6113, 0x3cb0cf3d664bcc7f, 0x3cb0eec84b16086b,
            0x3cb10e20329515ee, 0x3cb12d4707310fbe, 0x3cb14c3e9f8e9141, 0x3cb16b08bfc4201e, 0x3cb189a71a78da34, 0x3cb1a81b51ee6d88,
            0x3cb1c666f8f82acb, 0x3cb1e48b93e0d42e, 0x3cb2028a9940a09f, 0x3cb2206572c4c6e9, 0x3cb23e1d7de9c31f, 0x3cb25bb40ca96bfb,
            0x3cb2792a661dd37f, 0x3cb29681c719d71b, 0x3cb2b3bb62b82eda, 0x3cb2d0d862e1b853, 0x3cb2edd9e8cba98e, 0x3cb30ac10d6e48d7,
            0x3cb3278ee1f4b930, 0x3cb3444470265ea1, 0x3cb360e2baca52d5, 0x3cb37d6abe05586a, 0x3cb399dd6fb2b264, 0x3cb3b63bbfb83d03,
            0x3cb3d28698561de0, 0x3cb3eebede725a83, 0x3cb40ae571e09e74, 0x3cb426fb2da6745d, 0x3cb44300e83c30a4, 0x3cb45ef773cac75d,
            0x3cb47adf9e66c336, 0x3cb496ba32488f2f, 0x3cb4b287f602415d, 0x3cb4ce49acb311dc, 0x3cb4ea001638a605, 0x3cb505abef5e5562,
            0x3cb5214df20a8b5a, 0x3cb53ce6d56a664f, 0x3cb558774e1bb2c8, 0x3cb574000e555f78, 0x3cb58f81c60e8514, 0x3cb5aafd23241b59,
            0x3cb5c672d17d733d, 0x3cb5e1e37b2f8cd3, 0x3cb5fd4fc89f5e38, 0x3cb618b860a31fc3, 0x3cb6341de8a2b0a2, 0x3cb64f8104b7260b,
            0x3cb66ae257c99672, 0x3cb6864283b13137, 0x3cb6a1a22950b2b1, 0x3cb6bd01e8b343bb, 0x3cb6d8626128d352, 0x3cb6f3c43161f854,
            0x3cb70f27f78b68eb, 0x3cb72a8e516914c6, 0x3cb745f7dc70eedc, 0x3cb7616535e5731f, 0x3cb77cd6faeff449, 0x3cb7984dc8babd93,
            0x3cb7b3ca3c8b1409, 0x3cb7cf4cf3db22fb, 0x3cb7ead68c73dee7, 0x3cb80667a486ea1f, 0x3cb82200dac88676, 0x3cb83da2ce899f15,
            0x3cb8594e1fd1f5bd, 0x3cb875036f7a7ec5, 0x3cb890c35f47f72d, 0x3cb8ac8e9205c043, 0x3cb8c865aba10c9c, 0x3cb8e44951446a27,
            0x3cb9003a2973b58f, 0x3cb91c38dc288347, 0x3cb9384612ef0afc, 0x3cb954627903a28a, 0x3cb9708ebb70d5ee, 0x3cb98ccb892e2a31,
            0x3cb9a919933f99bf, 0x3cb9c5798cd5d92c, 0x3cb9e1ec2b6f7411, 0x3cb9fe7226fad24a, 0x3cba1b0c39f93692, 0x3cba37bb21a2c85b,
            0x3cba547f9e0bbb88, 0x3cba715a724aa9a4, 0x3cba8e4c64a0313d, 0x3cbaab563e9ff108, 0x3cbac878cd5af5ce, 0x3cbae5b4e18bb336,
            0x3cbb030b4fc3a11a, 0x3cbb207cf09a985b, 0x3cbb3e0aa0e00c00, 0x3cbb5bb541ce3d03, 0x3cbb797db93f8927, 0x3cbb9764f1e5f73c,
            0x3cbbb56bdb85256e, 0x3cbbd3936b2ec0a2, 0x3cbbf1dc9b81ae83, 0x3cbc10486cec16a0, 0x3cbc2ed7e5f07a2d, 0x3cbc4d8c136e0d1c,
            0x3cbc6c6608ec8705, 0x3cbc8b66e0eba617, 0x3cbcaa8fbd36a2ab, 0x3cbcc9e1c73bd690, 0x3cbce95e3068e037, 0x3cbd0906328b8f6e,
            0x3cbd28db1037ef20, 0x3cbd48de1533c647, 0x3cbd691096e7f123, 0x3cbd8973f4d7fba5, 0x3cbdaa0999206e70, 0x3cbdcad2f8fc490e,
            0x3cbdebd195522e37, 0x3cbe0d06fb49d21c, 0x3cbe2e74c4ea46f6, 0x3cbe501c99c1d188, 0x3cbe72002f97fe25, 0x3cbe94214b2abf0a,
            0x3cbeb681c0f76f08, 0x3cbed9237610a73a, 0x3cbefc086101eca9, 0x3cbf1f328ac25321, 0x3cbf42a40fb74d6d, 0x3cbf665f20c90168,
            0x3cbf8a6604899782, 0x3cbfaebb187122bf, 0x3cbfd360d22fe785, 0x3cbff859c118f60b, 0x3cc00ed447d3a075, 0x3cc021a8028fc947,
            0x3cc034a983a902ab, 0x3cc047da4e3ef5c7, 0x3cc05b3bf6adb37e, 0x3cc06ed023a72668, 0x3cc082988f632e17, 0x3cc0969708e8a254,
            0x3cc0aacd7571c0c4, 0x3cc0bf3dd1eed448, 0x3cc0d3ea34aa3d30, 0x3cc0e8d4cf116593, 0x3cc0fdffefa69fb6, 0x3cc1136e04207041,
            0x3cc129219bbb5d35, 0x3cc13f1d69c4096d, 0x3cc1556448602e3b, 0x3cc16bf93b9deef3, 0x3cc182df74d21261, 0x3cc19a1a564eebac,
            0x3cc1b1ad777f2f8e, 0x3cc1c99ca971a694, 0x3cc1e1ebfbe4ae39, 0x3cc1fa9fc2e2d901, 0x3cc213bc9d04cc81, 0x3cc22d477a6fd3ee,
            0x3cc24745a4ac9c24, 0x3cc261bcc77658e0, 0x3cc27cb2faa8592e, 0x3cc2982ecd770e78, 0x3cc2b437532a0a52, 0x3cc2d0d43196db97,
            0x3cc2ee0db1a978f5, 0x3cc30becd256aeee, 0x3cc32a7b5e68a4a3, 0x3cc349c405ae12a3, 0x3cc369d27a33a840, 0x3cc38ab39256410a,
            0x3cc3ac7570ae88fa, 0x3cc3cf27b31704a6, 0x3cc3f2dbaa60f475, 0x3cc417a49cb9e5da, 0x3cc43d9815545e94, 0x3cc464ce44a73a15,
            0x3cc48d62759c43bc, 0x3cc4b7739d6b5a27, 0x3cc4e3250dcd8902, 0x3cc5109f53e9ac41, 0x3cc54011523a7e42, 0x3cc571b1a94ae41b,
            0x3cc5a5c08b718dd9, 0x3cc5dc8a243ad0fe, 0x3cc61669cf861e4c, 0x3cc653ce7b006aea, 0x3cc69540be9fe5c3, 0x3cc6db6b8d09e232,
            0x3cc72728f05f7a34, 0x3cc7799556090673, 0x3cc7d42df4d6ce8c, 0x3cc839030529f234, 0x3cc8ab0fbfaa7c14, 0x3cc92ee0946f4496,
            0x3cc9cbee014057ab, 0x3cca8fdc7894775a, 0x3ccb981f3878fdb1, 0x3ccd3bb48209ad33,
        )
}
