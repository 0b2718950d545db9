package dev.mobileexport.sample

import android.annotation.SuppressLint
import android.app.Activity
import android.app.ActivityManager
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.provider.Settings
import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.ImageView
import android.widget.Spinner
import android.widget.TextView
import dev.mobileexport.kit.Benchmark
import dev.mobileexport.kit.Device
import dev.mobileexport.kit.Problem
import java.io.File
import java.util.UUID

/** A model: the answer on a picture, the check and the benchmark. */
class ModelActivity : Activity() {
    private var model: Model? = null
    private var photo: Photo? = null
    private var engines = listOf<Engine>()

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.model)
        val name = intent.getStringExtra(MODEL).orEmpty()
        title = name
        findViewById<Button>(R.id.choose).setOnClickListener { choose() }
        findViewById<Button>(R.id.bundled).setOnClickListener { answer { Pictures.bundled(this) } }
        findViewById<Button>(R.id.camera).setOnClickListener { camera() }
        findViewById<Button>(R.id.run).setOnClickListener { photo?.let { chosen -> answer { chosen } } ?: say(getString(R.string.no_picture)) }
        findViewById<Button>(R.id.check).setOnClickListener { check() }
        findViewById<Button>(R.id.benchmark).setOnClickListener { benchmark() }
        Work.run({ Models(this).all().firstOrNull { it.name == name } ?: throw Problem("There is no model called $name.") }, ::say, ::show)
    }

    private fun show(found: Model) {
        val manifest = found.manifest ?: return say(found.problem.orEmpty())
        model = found
        engines = try {
            Engine.of(manifest.format)
        } catch (problem: Problem) {
            say(problem.message.orEmpty())
            return
        }
        findViewById<Spinner>(R.id.engine).adapter = ArrayAdapter(this, R.layout.row, R.id.row, engines.map { it.label })
        val missing = manifest.namesMissing()
        val notes = listOfNotNull(manifest.weights.takeIf { it.isNotEmpty() }, if (missing > 0) "$missing of its classes have no name; they are shown by number." else null)
        findViewById<TextView>(R.id.note).text = notes.joinToString("\n")
    }

    private fun engine(): Engine = engines[findViewById<Spinner>(R.id.engine).selectedItemPosition.coerceIn(engines.indices)]

    /** The model and the engine that was chosen, or a sentence and null. */
    private fun chosen(): Pair<Model, Engine>? {
        val known = model
        if (known == null || engines.isEmpty()) return null
        say(getString(R.string.working))
        return known to engine()
    }

    private fun answer(picture: () -> Photo) {
        val (known, engine) = chosen() ?: return
        Work.run({
            val taken = picture()
            photo = taken
            val answered = Loaded.load(this, known, engine, THREADS).use { it.answer(taken.pixels) }
            Triple(Drawing.show(answered.answer, answered.prepared), answered, taken)
        }, ::say) { (shown, answered, taken) ->
            findViewById<ImageView>(R.id.picture).setImageBitmap(shown.picture)
            findViewById<TextView>(R.id.answer).text = coloured(shown.lines)
            say(listOf(taken.words, answered.prepared.words, "%.1f ms".format(answered.milliseconds)).filter { it.isNotEmpty() }.joinToString("; "))
        }
    }

    private fun check() {
        val (known, engine) = chosen() ?: return
        Work.run({ Loaded.load(this, known, engine, THREADS).use { it.check() } }, ::say) { say(it.sentence()) }
    }

    private fun benchmark() {
        val (known, _) = chosen() ?: return
        val notes = ArrayList<String>()
        Work.run({
            val timed = Loaded.benchmark(this, known, THREADS, RUNS) { text -> if (!text.startsWith("Turn")) notes.add(text) else Work.tell { say(text) } }
            val file = File(getExternalFilesDir(null) ?: filesDir, "bench-${UUID.randomUUID()}.jsonl")
            file.writeText(Benchmark.record(timed, device(), file.nameWithoutExtension))
            timed.map { it.sentence() } + notes + "Saved as ${file.path}; mobile-bench import reads it."
        }, ::say) { say(it.joinToString("\n")) }
    }

    @SuppressLint("HardwareIds") // it tells two phones of one kind apart in the store, and goes nowhere else
    private fun device(): Device {
        val memory = ActivityManager.MemoryInfo().also { getSystemService(ActivityManager::class.java).getMemoryInfo(it) }
        val id = Settings.Secure.getString(contentResolver, Settings.Secure.ANDROID_ID) ?: "unknown"
        return Device("app:$id", "${Build.MANUFACTURER} ${Build.MODEL}", soc(), System.getProperty("os.arch") ?: "unknown", "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})", memory.totalMem shr 20)
    }

    /** By name: the field is of Android 12. */
    private fun soc(): String = try {
        Build::class.java.getField("SOC_MODEL").get(null) as String
    } catch (error: ReflectiveOperationException) {
        Build.HARDWARE
    }

    private fun camera() {
        val (known, engine) = chosen() ?: return
        startActivity(Intent(this, CameraActivity::class.java).putExtra(MODEL, known.name).putExtra(CameraActivity.ENGINE, engine.name))
    }

    private fun choose() {
        val ask = Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        @Suppress("DEPRECATION") // its successor is part of AndroidX
        startActivityForResult(ask, PICTURE)
    }

    @Deprecated("Its successor is part of AndroidX.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val uri = data?.data
        if (request == PICTURE && result == RESULT_OK && uri != null) answer { Pictures.open(this, uri) }
    }

    private fun say(text: String) {
        findViewById<TextView>(R.id.message).text = text
    }

    companion object {
        const val MODEL = "model"
        const val THREADS = 4
        private const val RUNS = 10
        private const val PICTURE = 1

        /** Lines, each behind a field of its colour. */
        fun coloured(lines: List<Line>): CharSequence {
            val text = SpannableStringBuilder()
            for (line in lines) {
                if (text.isNotEmpty()) text.append("\n")
                if (line.colour != null) {
                    text.append("\u25A0 ")
                    text.setSpan(ForegroundColorSpan(line.colour), text.length - 2, text.length, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
                }
                text.append(line.text)
            }
            return text
        }
    }
}
