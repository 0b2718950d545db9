package dev.mobileexport.kit

import kotlin.math.abs

/** How far the outputs of a file are from those that its manifest expects. */
data class Checked(val error: Double, val tolerance: Double, val compared: Int, val output: String) {
    val passed: Boolean get() = error <= tolerance

    /** For the screen. */
    fun sentence(): String {
        val verdict = if (passed) "Passed" else "FAILED"
        return "$verdict: the largest error is %.2g of the output's size (%s, %d numbers); allowed is %.2g.".format(java.util.Locale.ROOT, error, output, compared, tolerance)
    }
}

/** The proof of the export, again, on this device: the manifest's sample goes in, its expected outputs must come out. */
object Check {
    /**
     * The sample as the file takes it.
     *
     * @throws Problem it cannot be made here.
     */
    fun input(manifest: Manifest): Tensor {
        if (manifest.suppressed != null) {
            throw Problem("This file ends with detections; its manifest expects the boxes and scores in front of them, which it does not give. Check the same model written without --nms.")
        }
        val values = Samples.make(manifest.expected.sample, manifest.input.shape.fold(1, Int::times))
        if (Samples.sha256(values) != manifest.expected.inputSha256) {
            throw Problem("The manifest's sample input could not be made again on this device to the last bit, so nothing can be compared.")
        }
        return Prepare.arranged(values, manifest.picture, manifest.input.shape)
    }

    /**
     * The largest error of all outputs.
     *
     * @param outputs in the file's order and layout.
     * @param precision of the arithmetic, "fp32" or "fp16".
     * @throws Problem an output is missing, or the manifest allows no error for this precision.
     */
    fun compare(outputs: List<Tensor>, manifest: Manifest, precision: String): Checked {
        val half = "fp16" in listOf(precision, manifest.precision)
        val name = if (half) "fp16" else "fp32"
        val tolerance = manifest.expected.tolerance[name] ?: throw Problem("The manifest allows no error for $name, so nothing can be compared.")
        val worst = manifest.expected.outputs.map { wanted -> wanted.name to error(of(wanted, outputs, manifest), wanted) }.maxBy { it.second }
        return Checked(worst.second, tolerance, manifest.expected.outputs.sumOf { it.values.size }, worst.first)
    }

    private fun of(wanted: ExpectedOutput, outputs: List<Tensor>, manifest: Manifest): Tensor {
        val place = manifest.fileOutputs.indexOfFirst { it.source == wanted.name }
        if (place !in outputs.indices) throw Problem("The file does not give ${wanted.name}, which its manifest expects.")
        return Layout.ofModel(outputs[place], manifest.fileOutputs[place], wanted.shape)
    }

    /** Largest error relative to the output's largest magnitude; of integers, the share that differs. */
    fun error(got: Tensor, wanted: ExpectedOutput): Double {
        if (!got.shape.contentEquals(wanted.shape)) return Double.POSITIVE_INFINITY
        var largest = 0.0
        var differing = 0
        for (k in wanted.values.indices) {
            val (a, b) = got.values[Samples.kept(k, got.values.size)] to wanted.values[k]
            if (a == b) continue
            differing++
            val error = abs(a.toDouble() - b)
            largest = maxOf(largest, if (error.isNaN()) Double.POSITIVE_INFINITY else error)
        }
        if (wanted.integer) return differing.toDouble() / maxOf(1, wanted.values.size)
        return if (largest == 0.0) 0.0 else if (wanted.scale > 0) largest / wanted.scale else Double.POSITIVE_INFINITY
    }
}
