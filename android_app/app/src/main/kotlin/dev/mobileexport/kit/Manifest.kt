package dev.mobileexport.kit

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The largest input, in numbers, that an app should hold in memory. */
private const val MOST_NUMBERS = 1L shl 26
private const val MOST_LABELS = 65_536
private const val SCHEMA = 1

/** A file without which the model is nothing, or the model itself. */
data class Part(val file: String, val sha256: String, val bytes: Long)

/** The model's own input, as PyTorch has it: (1, C, H, W). */
data class ModelInput(val name: String, val shape: IntArray, val order: String, val mean: DoubleArray, val std: DoubleArray)

/** From pixels to numbers; [inside]: the file does it itself and takes pixels. */
data class Normalization(val inside: Boolean, val scale: Double, val mean: DoubleArray, val std: DoubleArray)

/** An input or output of the file, as its runtime has it. An extent that depends on the picture is null. */
data class Port(
    val name: String,
    val shape: List<Int?>,
    val dtype: String,
    val layout: String?,
    val order: String?,
    val normalization: Normalization?,
    val meaning: String?,
    val box: BoxForm?,
    val source: String?,
)

/** What the four numbers of a box are; [unit] is "pixels" of the input or "image". */
data class BoxForm(val order: List<String>, val unit: String)

/** How the model's authors bring a picture to its size, in timm's words. */
data class Rule(val height: Int, val width: Int, val cropMode: String, val interpolation: String, val source: String)

/** What an output must be for the sample input; [values] are all of them, or those that [Expected.kept] names. */
class ExpectedOutput(val name: String, val shape: IntArray, val integer: Boolean, val scale: Double, val values: FloatArray)

class Expected(val sample: String, val inputSha256: String, val tolerance: Map<String, Double>, val outputs: List<ExpectedOutput>)

/** Suppression inside the file. */
data class Suppressed(val labels: List<String>?)

/**
 * What stands beside every file that mobile-export writes (docs/manifest.md of the project).
 *
 * It is data of unknown origin: every field that is used has a type and a limit, and what does not fit is a [Problem].
 */
class Manifest private constructor(
    val format: String,
    val file: Part,
    val companions: List<Part>,
    val precision: String,
    val source: String,
    val weights: String,
    val input: ModelInput,
    val outputs: List<Pair<String, IntArray>>,
    val expected: Expected,
    val labels: List<String>?,
    val task: String?,
    val inputs: List<Port>,
    val fileOutputs: List<Port>,
    val rule: Rule?,
    val suppressed: Suppressed?,
    val parity: JSONObject?,
    val tools: Map<String, String>,
) {
    /** The one input that takes the picture. */
    val picture: Port get() = inputs[0]

    /** Names of the classes of the answer. */
    val names: List<String>? get() = if (suppressed != null) suppressed.labels else labels

    /** Whether the names are fewer than the classes of a classifier: some answers then have a number only. */
    fun namesMissing(): Int {
        val classes = fileOutputs.firstOrNull { it.layout?.endsWith("C") == true && it.shape.size == 2 }?.shape?.last() ?: return 0
        return if (labels == null) 0 else maxOf(0, classes - labels.size)
    }

    companion object {
        /**
         * Reads a manifest.
         *
         * @param name of its file, for messages.
         * @throws Problem it is none, is damaged, or is of a newer version.
         */
        fun read(text: String, name: String): Manifest = try {
            val root = JSONObject(text)
            val schema = root.getInt("schema")
            if (schema > SCHEMA) {
                throw Problem("$name is a manifest of version $schema; this app reads version $SCHEMA. Get a newer app, or export the model again.")
            }
            Reader(name).manifest(root)
        } catch (error: JSONException) {
            throw Problem("$name is not a manifest of mobile-export: ${error.message}.", error)
        } catch (error: StackOverflowError) {
            throw Problem("$name is not a manifest of mobile-export: it is nested too deeply.", error)
        }
    }

    private class Reader(private val name: String) {
        fun manifest(root: JSONObject): Manifest {
            val face = root.objectOrNull("interface")
                ?: throw Problem("$name does not say what its file takes and gives: it is of an older mobile-export. Export the model again.")
            val others = root.arrayOrNull("other_inputs")?.objects().orEmpty()
            if (others.isNotEmpty()) {
                val names = (listOf(root.getJSONObject("input")) + others).joinToString { it.getString("name").take(40) }
                throw Problem("The model of $name takes several inputs ($names); this app gives one picture and nothing else.")
            }
            val expected = expected(root.getJSONObject("expected"))
            val inputs = face.getJSONArray("inputs").objects().map(::port)
            val outputs = face.getJSONArray("outputs").objects().map(::port)
            if (inputs.isEmpty() || outputs.isEmpty()) fail("no input or no output")
            return Manifest(
                format = root.getString("format"),
                file = part(root),
                companions = root.getJSONArray("companions").objects().map(::part),
                precision = root.getString("precision"),
                source = root.getString("source"),
                weights = root.getJSONObject("weights").optString("description", ""),
                input = input(root.getJSONObject("input")),
                outputs = root.getJSONArray("outputs").objects().map { it.getString("name") to shape(it.getJSONArray("shape")) },
                expected = expected,
                labels = labels(root.arrayOrNull("labels")),
                task = root.stringOrNull("task"),
                inputs = inputs,
                fileOutputs = outputs,
                rule = root.objectOrNull("preprocessing")?.let(::rule),
                suppressed = root.objectOrNull("nms")?.let { Suppressed(labels(it.arrayOrNull("labels"))) },
                parity = root.objectOrNull("parity"),
                tools = root.getJSONObject("tools").let { all -> all.keys().asSequence().associateWith { all.getString(it) } },
            )
        }

        private fun fail(what: String): Nothing = throw Problem("$name cannot be used: $what.")

        private fun part(of: JSONObject): Part {
            val file = of.getString("file")
            if (file.isEmpty() || '/' in file || '\\' in file || '\u0000' in file || file.startsWith(".")) fail("its file is called \"${file.take(60)}\"")
            return Part(file, of.getString("sha256"), of.getLong("bytes"))
        }

        private fun input(of: JSONObject): ModelInput {
            val shape = shape(of.getJSONArray("shape"))
            val channels = shape.getOrElse(1) { 0 }
            val mean = of.arrayOrNull("mean")?.doubles() ?: DoubleArray(channels)
            val std = of.arrayOrNull("std")?.doubles() ?: DoubleArray(channels) { 1.0 }
            if (mean.size != channels || std.size != channels || std.any { !(it > 0) }) fail("its mean and std are not those of $channels channels")
            return ModelInput(of.getString("name"), shape, of.stringOrNull("channel_order") ?: "RGB", mean, std)
        }

        private fun port(of: JSONObject): Port {
            val shape = of.getJSONArray("shape").let { all -> List(all.length()) { if (all.isNull(it)) null else all.getInt(it) } }
            if (shape.any { it != null && it < 1 } || shape.fold(1L) { n, each -> minOf(n * (each ?: 1), Long.MAX_VALUE / 65_536) } > MOST_NUMBERS) fail("the shape $shape")
            val box = of.objectOrNull("box")?.let { BoxForm(it.getJSONArray("order").strings(), it.getString("unit")) }
            val form = of.objectOrNull("normalization")?.let {
                Normalization(it.getBoolean("inside"), it.getDouble("scale"), it.getJSONArray("mean").doubles(), it.getJSONArray("std").doubles())
            }
            return Port(
                of.getString("name"), shape, of.getString("dtype"), of.stringOrNull("layout"), of.stringOrNull("channel_order"),
                form, of.stringOrNull("meaning"), box, of.stringOrNull("source"),
            )
        }

        private fun rule(of: JSONObject): Rule {
            val (height, width) = shape(of.getJSONArray("resize")).also { if (it.size != 2) fail("the resize ${it.toList()}") }
            return Rule(height, width, of.getString("crop_mode"), of.getString("interpolation"), of.getString("source"))
        }

        private fun expected(of: JSONObject): Expected {
            val tolerance = of.getJSONObject("tolerance")
            val outputs = of.getJSONArray("outputs").objects().map {
                val shape = shape(it.getJSONArray("shape"))
                val values = floats(Base64.decode(it.getString("values")) ?: fail("its expected values are no base64"))
                val count = shape.fold(1L) { n, each -> n * each }
                if (values.size.toLong() != minOf(count, Samples.KEPT.toLong())) fail("${values.size} expected values for the shape ${shape.toList()}")
                ExpectedOutput(it.getString("name"), shape, it.getBoolean("integer"), it.getDouble("scale"), values)
            }
            return Expected(of.getString("sample"), of.getString("input_sha256"), tolerance.keys().asSequence().associateWith(tolerance::getDouble), outputs)
        }

        private fun floats(bytes: ByteArray): FloatArray {
            val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
            return FloatArray(buffer.remaining()).also(buffer::get)
        }

        private fun labels(of: JSONArray?): List<String>? {
            if (of != null && of.length() > MOST_LABELS) fail("${of.length()} names of classes")
            return of?.strings()
        }

        private fun shape(of: JSONArray): IntArray {
            val found = IntArray(of.length()) { of.getInt(it) }
            if (found.any { it < 1 } || found.fold(1L) { n, each -> minOf(n * each, Long.MAX_VALUE / 65_536) } > 32 * MOST_NUMBERS) fail("the shape ${found.toList()}")
            return found
        }
    }
}

private fun JSONObject.objectOrNull(key: String): JSONObject? = if (isNull(key)) null else getJSONObject(key)

private fun JSONObject.arrayOrNull(key: String): JSONArray? = if (isNull(key)) null else getJSONArray(key)

private fun JSONObject.stringOrNull(key: String): String? = if (isNull(key)) null else getString(key)

private fun JSONArray.objects(): List<JSONObject> = List(length()) { getJSONObject(it) }

private fun JSONArray.strings(): List<String> = List(length()) { getString(it) }

private fun JSONArray.doubles(): DoubleArray = DoubleArray(length()) { getDouble(it) }
