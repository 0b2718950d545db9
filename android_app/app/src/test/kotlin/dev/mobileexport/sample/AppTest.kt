package dev.mobileexport.sample

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageView
import android.widget.ListView
import android.widget.Spinner
import android.widget.TextView
import dev.mobileexport.kit.Answer
import dev.mobileexport.kit.Problem
import dev.mobileexport.kit.Thing
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowLooper
import java.io.ByteArrayInputStream
import java.io.File
import java.util.concurrent.TimeUnit

/**
 * The app itself, on every model in its assets: tests/apps of the project exports them in the same run, and compares what
 * is written to the folder of screens with its own answers.
 */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], qualifiers = "w360dp-h740dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class AppTest {
    private val screens = File(System.getProperty("screens") ?: "build/screens").apply { mkdirs() }
    private val context get() = RuntimeEnvironment.getApplication()

    private fun text(activity: Activity, id: Int) = activity.findViewById<TextView>(id).text.toString()

    /** Waits until the message of an activity is another one than [not]. */
    private fun said(activity: Activity, vararg not: String): String {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(120)
        while (System.nanoTime() < end) {
            ShadowLooper.idleMainLooper()
            val found = text(activity, R.id.message)
            if (found.isNotEmpty() && found !in not && !found.startsWith("Turn ")) return found
            Thread.sleep(10)
        }
        fail("nothing was said")
        return ""
    }

    private fun after(activity: Activity, button: Int): String {
        activity.findViewById<TextView>(R.id.message).text = ""
        activity.findViewById<Button>(button).performClick()
        return said(activity, activity.getString(R.string.working))
    }

    private fun opened(name: String): ModelActivity {
        val intent = Intent(context, ModelActivity::class.java).putExtra(ModelActivity.MODEL, name)
        val activity = Robolectric.buildActivity(ModelActivity::class.java, intent).setup().visible().get()
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30)
        while (activity.findViewById<Spinner>(R.id.engine).adapter == null && text(activity, R.id.message).isEmpty() && System.nanoTime() < end) {
            ShadowLooper.idleMainLooper()
            Thread.sleep(10)
        }
        return activity
    }

    /** Time and scroll bar are left out: nothing else on these screens differs between two runs. */
    private fun screenshot(activity: Activity, name: String) {
        activity.findViewById<TextView>(R.id.message)?.let { it.text = it.text.replace(Regex("[0-9.]+ ms"), "… ms") }
        activity.findViewById<ViewGroup>(android.R.id.content).getChildAt(0).apply { isVerticalScrollBarEnabled = false }.scrollTo(0, 0)
        ShadowLooper.idleMainLooper()
        val root = activity.window.decorView
        val bitmap = Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888)
        root.draw(Canvas(bitmap))
        File(screens, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }

    private val usable get() = Models(context).all().filter { it.manifest?.format in listOf("tflite", "onnx") }

    @Test fun theListShowsEveryModel() {
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        val list = activity.findViewById<ListView>(R.id.models)
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30)
        while (list.adapter == null && System.nanoTime() < end) {
            ShadowLooper.idleMainLooper()
            Thread.sleep(10)
        }
        val names = List(list.adapter.count) { list.adapter.getItem(it).toString().substringBefore('\n') }
        assertEquals(Models(context).all().map { it.name }, names)
        assertTrue("no model was given", names.isNotEmpty())
        screenshot(activity, "models")
        list.performItemClick(list, 0, 0)
        val model = Models(context).all()[0]
        if (model.manifest != null) assertEquals(model.name, shadowOf(activity).nextStartedActivity.getStringExtra(ModelActivity.MODEL))
    }

    /** The button Sample; then the same answer, as numbers, for pytest. */
    @Test fun everyModelAnswers() = usable.forEach { model ->
        val activity = opened(model.name)
        val message = after(activity, R.id.bundled)
        assertTrue("${model.name}: $message", message.endsWith(" ms"))
        assertTrue(text(activity, R.id.answer).isNotEmpty())
        screenshot(activity, model.name)
        val engine = Engine.of(model.manifest!!.format).first()
        val answer = Loaded.load(context, model, engine, 1).use { it.answer(Pictures.bundled(context).pixels) }.answer
        File(screens, "${model.name}.json").writeText(json(answer).put("screen", text(activity, R.id.answer)).toString())
    }

    /** Screens of answers that are wrong in one thing: pytest looks whether its comparison tells them from the right ones. */
    @Test fun wrongAnswersForComparison() = usable.filter { it.name in listOf("emo_1m.onnx", "grid.onnx", "seaformer_tiny_seg.onnx", "u2netp.onnx") }.forEach { model ->
        val activity = opened(model.name)
        after(activity, R.id.bundled)
        val engine = Engine.of(model.manifest!!.format).first()
        val answered = Loaded.load(context, model, engine, 1).use { it.answer(Pictures.bundled(context).pixels) }
        val shown = Drawing.show(wrong(answered.answer), answered.prepared)
        activity.findViewById<ImageView>(R.id.picture).setImageBitmap(shown.picture)
        activity.findViewById<TextView>(R.id.answer).text = ModelActivity.coloured(shown.lines)
        screenshot(activity, "wrong-${model.name}")
    }

    /** The name of one class, one box moved by 40 pixels of the photo, a twentieth of a mask or map. */
    private fun wrong(answer: Answer): Answer = when (answer) {
        is Answer.Classes -> Answer.Classes(answer.classes.mapIndexed { k, each -> if (k == 0) each.copy(name = answer.classes[1].name) else each })
        is Answer.Objects -> Answer.Objects(answer.objects.mapIndexed { k, each -> if (k == 0) Thing(each.index, each.name, each.score, DoubleArray(4) { each.box[it] + 40 }) else each })
        is Answer.Regions -> Answer.Regions(IntArray(answer.labels.size) { if (it < answer.labels.size / 20) answer.regions.last().index else answer.labels[it] }, answer.width, answer.height, answer.regions)
        is Answer.Map -> Answer.Map(FloatArray(answer.values.size) { if (it < answer.values.size / 20) 1 - answer.values[it] else answer.values[it] }, answer.width, answer.height, answer.near)
        else -> answer
    }

    private fun json(answer: Answer): JSONObject = when (answer) {
        is Answer.Classes -> JSONObject().put("classes", JSONArray(answer.classes.map { JSONArray(listOf(it.index, it.name, it.probability)) }))
        is Answer.Objects -> JSONObject().put("objects", JSONArray(answer.objects.map { JSONArray(listOf(it.index, it.score) + it.box.toList()) }))
        is Answer.Regions -> JSONObject().put("regions", JSONArray(answer.regions.map { JSONArray(listOf(it.index, it.name, it.share)) }))
        is Answer.Image -> JSONObject().put("image", JSONArray(listOf(answer.pixels.height, answer.pixels.width))).put("sum", answer.pixels.rgb().bytes.sumOf { it.toInt() and 0xff })
        is Answer.Map -> JSONObject().put("map", JSONArray(listOf(answer.height, answer.width))).put("mean", answer.values.average())
        is Answer.Unknown -> JSONObject().put("numbers", JSONArray(answer.outputs.map { JSONArray(listOf(it.name, JSONArray(it.shape), it.least, it.greatest)) }))
    }

    @Test fun everyModelPassesItsCheck() = usable.forEach { model ->
        val activity = opened(model.name)
        val message = after(activity, R.id.check)
        val wanted = if (model.manifest!!.suppressed == null) "Passed: the largest error is " else "This file ends with detections"
        assertTrue("${model.name}: $message", message.startsWith(wanted))
        File(screens, "${model.name}.check.txt").writeText(message)
    }

    @Test fun theBenchmarkWritesARecord() {
        val activity = opened(usable.minByOrNull { it.manifest!!.file.bytes }!!.name)
        val message = after(activity, R.id.benchmark)
        assertTrue(message, "median" in message && "mobile-bench import" in message)
        val file = File(message.substringAfter("Saved as ").substringBefore(';'))
        file.copyTo(File(screens, "bench.jsonl"), overwrite = true)
        screenshot(activity, "benchmark")
    }

    @Test fun theGpuIsNotHere() {
        val tflite = usable.first { it.manifest!!.format == "tflite" }
        val activity = opened(tflite.name)
        activity.findViewById<Spinner>(R.id.engine).setSelection(1)
        assertTrue(after(activity, R.id.bundled).startsWith("The GPU delegate is not in this build"))
    }

    @Test fun theCameraAnswersFrames() {
        val model = usable.minByOrNull { it.manifest!!.file.bytes }!!
        val intent = Intent(context, CameraActivity::class.java).putExtra(CameraActivity.MODEL, model.name)
        intent.putExtra(CameraActivity.ENGINE, Engine.of(model.manifest!!.format).first().name)
        val activity = Robolectric.buildActivity(CameraActivity::class.java, intent).setup().get()
        val frame = Pictures.bitmap(Pictures.bundled(context).pixels)
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60)
        while (text(activity, R.id.answer).isEmpty() && System.nanoTime() < end) {
            activity.answer(frame)
            ShadowLooper.idleMainLooper()
            Thread.sleep(10)
        }
        assertTrue(text(activity, R.id.answer).isNotEmpty())
        activity.onRequestPermissionsResult(1, arrayOf(), intArrayOf(-1))
        assertEquals(context.getString(R.string.no_permission), text(activity, R.id.message))
    }

    @Test fun badPicturesAreSentences() {
        val folder = File(System.getProperty("pictures") ?: return)
        val model = usable.minByOrNull { it.manifest!!.file.bytes }!!
        val activity = opened(model.name)
        for (file in folder.listFiles()!!.sorted()) {
            val uri = Uri.parse("content://pictures/${file.name}")
            shadowOf(context.contentResolver).registerInputStreamSupplier(uri) { ByteArrayInputStream(file.readBytes()) }
            activity.findViewById<TextView>(R.id.message).text = ""
            activity.findViewById<Button>(R.id.choose).performClick()
            val asked = shadowOf(activity).nextStartedActivityForResult.intent
            shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(uri))
            File(screens, "picture-${file.name}.txt").writeText(said(activity, activity.getString(R.string.working)))
        }
    }

    @Test fun portraitPhotosAreTurned() {
        val folder = File(System.getProperty("pictures") ?: return)
        val turned = Pictures.decode(File(folder, "portrait.jpg").readBytes()).pixels
        val plain = Pictures.decode(File(folder, "upright.jpg").readBytes()).pixels
        assertEquals("${plain.width}x${plain.height}", "${turned.width}x${turned.height}")
        assertTrue(plain.bytes.indices.map { kotlin.math.abs((plain.bytes[it].toInt() and 0xff) - (turned.bytes[it].toInt() and 0xff)) }.average() < 4)
    }

    private fun added(vararg files: Pair<String, ByteArray>): String = try {
        Models(context).add(files.map { (name, bytes) -> name to { ByteArrayInputStream(bytes) } })
        "added"
    } catch (problem: Problem) {
        problem.message!!
    }

    private fun asset(name: String) = context.assets.open("models/$name").use { it.readBytes() }

    @Test fun badFilesAreSentences() {
        val model = usable.minByOrNull { it.manifest!!.file.bytes }!!
        val (name, suffix) = model.name to Models.SUFFIX
        val manifest = JSONObject(asset(name + suffix).decodeToString())
        val bytes = asset(name)
        val renamed = { file: String -> JSONObject(manifest.toString()).put("file", file) }
        assertTrue("there is no manifest" in added("lone.tflite" to bytes))
        assertTrue("already" in added(name to bytes, name + suffix to asset(name + suffix)))
        assertTrue("Two of the files" in added("a" to bytes, "a" to bytes))
        assertTrue("version 99" in added("n.tflite" to bytes, "n.tflite$suffix" to renamed("n.tflite").put("schema", 99).toString().toByteArray()))
        val two = renamed("n.tflite").put("other_inputs", JSONArray(listOf(JSONObject().put("name", "input_ids"))))
        assertTrue(", input_ids); this app gives one picture" in added("n.tflite" to bytes, "n.tflite$suffix" to two.toString().toByteArray()))
        assertTrue("is not a manifest" in added("n.tflite" to bytes, "n.tflite$suffix" to "{".toByteArray()))
        assertTrue("is missing" in added("n.tflite$suffix" to renamed("n.tflite").toString().toByteArray()))

        assertEquals("added", added("cut.tflite" to bytes.copyOf(bytes.size / 2), "cut.tflite$suffix" to renamed("cut.tflite").toString().toByteArray()))
        assertTrue(after(opened("cut.tflite"), R.id.bundled).contains("It was cut short"))
        val other = bytes.copyOf().also { it[it.size / 2] = (it[it.size / 2] + 1).toByte() }
        assertEquals("added", added("other.tflite" to other, "other.tflite$suffix" to renamed("other.tflite").toString().toByteArray()))
        assertTrue(after(opened("other.tflite"), R.id.bundled).contains("its SHA-256 differs"))
        assertEquals("added", added("x.param" to bytes, "x.param$suffix" to renamed("x.param").put("format", "ncnn").toString().toByteArray()))
        assertTrue(text(opened("x.param"), R.id.message).contains("this one is of the format ncnn"))
        val clip = JSONObject(renamed("clip").toString()).put("preprocessing", JSONObject.NULL).apply { getJSONObject("input").put("shape", JSONArray(listOf(1, 3, 4, 8, 8))) }
        assertEquals("added", added("clip" to bytes, "clip$suffix" to clip.toString().toByteArray()))
        assertTrue(after(opened("clip"), R.id.bundled).contains("a picture is none"))
        val junk = ByteArray(2000) { it.toByte() }
        val sums = renamed("junk.bin").put("bytes", junk.size).put("sha256", dev.mobileexport.kit.Samples.hex(java.security.MessageDigest.getInstance("SHA-256").digest(junk)))
        assertEquals("added", added("junk.bin" to junk, "junk.bin$suffix" to sums.toString().toByteArray()))
        assertTrue(after(opened("junk.bin"), R.id.bundled).contains("cannot load junk.bin"))
    }

    @Test fun labelsMayBeFewer() {
        val model = usable.first { it.manifest!!.task == "classification" && it.manifest!!.labels != null }
        val manifest = JSONObject(asset(model.name + Models.SUFFIX).decodeToString()).put("file", "few").put("labels", JSONArray(listOf("only")))
        assertEquals("added", added("few" to asset(model.name), "few${Models.SUFFIX}" to manifest.toString().toByteArray()))
        val activity = opened("few")
        assertTrue(text(activity, R.id.note), "have no name" in text(activity, R.id.note))
        assertTrue(after(activity, R.id.bundled).endsWith(" ms"))
        assertTrue("class " in text(activity, R.id.answer))
    }
}
