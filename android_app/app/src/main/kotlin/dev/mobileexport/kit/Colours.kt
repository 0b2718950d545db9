package dev.mobileexport.kit

/** A colour for each class, the same in Python, Kotlin and Swift. */
object Colours {
    private const val GOLDEN = 0.61803398875
    private val tones = listOf(0.85 to 0.95, 0.45 to 0.95, 0.9 to 0.6, 0.5 to 0.7)

    /** Red, green, blue. Hues of neighbours are steps of the golden ratio apart; like hues differ in tone. */
    fun of(index: Int): IntArray {
        val (saturation, value) = tones[index / 3 % tones.size]
        val hue = index * GOLDEN % 1.0 * 6.0
        val sector = hue.toInt()
        val part = hue - sector
        val low = value * (1 - saturation)
        val falling = value * (1 - saturation * part)
        val rising = value * (1 - saturation * (1 - part))
        val parts = when (sector % 6) {
            0 -> listOf(value, rising, low)
            1 -> listOf(falling, value, low)
            2 -> listOf(low, value, rising)
            3 -> listOf(low, falling, value)
            4 -> listOf(rising, low, value)
            else -> listOf(value, low, falling)
        }
        return IntArray(3) { Math.rint(255 * parts[it]).toInt() }
    }

    /** Opaque, packed. */
    fun argb(index: Int): Int = of(index).let { (r, g, b) -> (0xff shl 24) or (r shl 16) or (g shl 8) or b }
}
