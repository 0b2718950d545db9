package dev.mobileexport.kit

import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

/** The kit on the vectors that Python and Swift are tested on, too (tests/vectors of the project). */
class VectorsTest {
    private val folder = File(System.getProperty("vectors") ?: error("-Dvectors=FOLDER is missing"))

    private fun cases(name: String): List<JSONObject> {
        val all = JSONObject(File(folder, "$name.json").readText()).getJSONArray("cases")
        assertTrue("no cases of $name", all.length() > 0)
        return List(all.length()) { all.getJSONObject(it) }
    }

    private class Packed(of: JSONObject) {
        val shape = ints(of.getJSONArray("shape"))
        private val buffer = ByteBuffer.wrap(Base64.getDecoder().decode(of.getString("data"))).order(ByteOrder.LITTLE_ENDIAN)
        val bytes: ByteArray get() = buffer.array()
        val floats: FloatArray get() = buffer.asFloatBuffer().let { FloatArray(it.remaining()).also(it::get) }
        val integers: IntArray get() = buffer.asIntBuffer().let { IntArray(it.remaining()).also(it::get) }
        val pixels get() = Pixels(shape[1], shape[0], shape[2], bytes)
    }

    private fun JSONObject.packed(key: String) = Packed(getJSONObject(key))

    @Test fun resize() = (cases("resize") + cases("order")).forEach {
        val wanted = it.packed("resized").pixels
        val got = Resize.resize(it.packed("picture").pixels, wanted.width, wanted.height, it.getString("interpolation"))
        assertArrayEquals("${it.getString("interpolation")} to ${wanted.width}x${wanted.height}", wanted.bytes, got.bytes)
    }

    @Test fun orientation() = cases("orientation").forEach {
        val (got, wanted) = it.packed("picture").pixels.upright(it.getInt("orientation")) to it.packed("upright").pixels
        assertEquals("${wanted.width}x${wanted.height}", "${got.width}x${got.height}")
        assertArrayEquals("orientation ${it.getInt("orientation")}", wanted.bytes, got.bytes)
    }

    @Test fun prepare() = cases("prepare").forEach {
        val size = ints(it.getJSONArray("size"))
        val rule = if (it.isNull("rule")) null else it.getJSONObject("rule").let { r ->
            val (height, width) = ints(r.getJSONArray("resize"))
            Rule(height, width, r.getString("crop_mode"), r.getString("interpolation"), r.getString("source"))
        }
        val input = ModelInput("x", intArrayOf(1, 3) + size, "RGB", doubles(it.getJSONArray("mean")), DoubleArray(3) { 1.0 })
        val got = Prepare.picture(it.packed("picture").pixels, input, rule)
        assertArrayEquals(got.words, it.packed("pixels").bytes, got.shown.bytes)
    }

    @Test fun normalize() = cases("normalize").forEach {
        val (mean, std) = doubles(it.getJSONArray("mean")) to doubles(it.getJSONArray("std"))
        val pixels = it.packed("pixels").pixels
        val (order, layout) = it.getString("channel_order") to it.getString("layout")
        val input = ModelInput("x", intArrayOf(1, mean.size, pixels.height, pixels.width), order, mean, std)
        val port = Port("x", listOf(), "float32", layout, order, Normalization(it.getBoolean("inside"), 1 / 255.0, mean, std), null, null, null)
        val got = Prepare.tensor(if (order == "L") pixels.grey() else pixels, port, input)
        assertArrayEquals(it.packed("values").shape, got.shape)
        assertArrayEquals("$order $layout", it.packed("values").floats, got.values, 1e-6f)
    }

    @Test fun classes() = cases("classes").forEach {
        val sure = Answers.softmax(it.packed("logits").floats)
        assertArrayEquals(it.packed("probabilities").floats.map(Float::toDouble).toDoubleArray(), sure, 1e-6)
        assertEquals(it.packed("best").integers.toList(), Answers.best(sure, null).map(Likely::index))
    }

    @Test fun suppression() = cases("suppression").forEach {
        val scores = it.packed("scores")
        val got = Suppression.suppress(
            it.packed("boxes").floats, scores.floats, scores.shape[1],
            scoreThreshold = it.getDouble("score_threshold"), iouThreshold = it.getDouble("iou_threshold"), limit = it.getInt("limit"),
        )
        assertEquals(it.packed("kept_classes").integers.toList(), got.map(Detection::index))
        assertEquals(it.packed("kept_scores").floats.toList(), got.map(Detection::score))
        assertArrayEquals(it.packed("kept_boxes").floats, got.flatMap { d -> d.box.map(Double::toFloat) }.toFloatArray(), 0f)
    }

    @Test fun boxes() = cases("boxes").forEach {
        val (scale, offset) = doubles(it.getJSONArray("scale")) to ints(it.getJSONArray("offset"))
        val (width, height) = ints(it.getJSONArray("size"))
        val place = Placement(scale[0], scale[1], offset[0], offset[1])
        val given = it.packed("boxes").floats.map(Float::toDouble)
        val got = given.chunked(4).flatMap { box -> place.box(box.toDoubleArray(), width, height).toList() }
        assertArrayEquals(it.packed("photo").floats.map(Float::toDouble).toDoubleArray(), got.toDoubleArray(), 1e-3)
    }

    @Test fun masks() = cases("masks").forEach {
        val logits = it.packed("logits")
        val (height, width) = ints(it.getJSONArray("size"))
        val got = Answers.segments(Tensor(logits.shape, logits.floats), null, width, height)
        assertArrayEquals(it.packed("labels").integers, got.labels)
        val shares = doubles(it.getJSONArray("shares"))
        got.regions.forEach { region -> assertEquals(shares[region.index], region.share, 1e-9) }
        assertEquals(shares.count { share -> share > 0 }, got.regions.size)
    }

    @Test fun samples() = cases("samples").forEach {
        val got = Samples.make(it.getString("sample"), ints(it.getJSONArray("shape")).fold(1, Int::times))
        assertArrayEquals(it.packed("first").floats, got.copyOf(12), 0f)
        assertEquals(it.getString("sha256"), Samples.sha256(got))
    }

    @Test fun normals() = cases("normals").forEach {
        val wanted = it.getJSONArray("values").let { all -> DoubleArray(all.length()) { k -> all.getString(k).toDouble() } }
        assertArrayEquals(wanted, Samples.normals(wanted.size), 0.0)
    }

    @Test fun expected() = cases("expected").forEach {
        val shape = intArrayOf(it.getInt("count"))
        val wanted = ExpectedOutput("x", shape, it.getBoolean("integer"), it.getDouble("scale"), it.packed("values").floats)
        assertEquals(it.getDouble("error"), Check.error(Tensor(shape, it.packed("got").floats), wanted), 1e-12)
    }

    @Test fun colours() = cases("colours").forEach {
        val rows = it.packed("colours")
        for (k in 0 until rows.shape[0]) {
            assertEquals("class $k", List(3) { c -> rows.bytes[3 * k + c].toInt() and 0xff }, Colours.of(k).toList())
        }
    }

    @Test fun statistics() = cases("statistics").forEach {
        val samples = it.packed("samples").integers.map(Int::toLong).toLongArray()
        assertEquals(it.getDouble("median"), Statistics.median(samples), 1e-6)
        assertEquals(it.getDouble("p10"), Statistics.percentile(samples, 0.1), 1e-6)
        assertEquals(it.getDouble("p90"), Statistics.percentile(samples, 0.9), 1e-6)
    }
}

private fun ints(of: JSONArray) = IntArray(of.length()) { of.getInt(it) }

private fun doubles(of: JSONArray) = DoubleArray(of.length()) { of.getDouble(it) }
