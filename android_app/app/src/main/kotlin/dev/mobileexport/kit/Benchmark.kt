package dev.mobileexport.kit

import org.json.JSONArray
import org.json.JSONObject
import java.util.Locale
import kotlin.math.floor

/** Of durations. */
object Statistics {
    /** By linear interpolation between the two nearest, as NumPy does; [share] in [0, 1]. */
    fun percentile(samples: LongArray, share: Double): Double {
        val sorted = samples.sortedArray()
        val place = (sorted.size - 1) * share
        val below = floor(place).toInt()
        val above = minOf(below + 1, sorted.size - 1)
        return sorted[below] + (place - below) * (sorted[above] - sorted[below])
    }

    fun median(samples: LongArray): Double = percentile(samples, 0.5)
}

/** An engine with its file loaded. */
class Entry(val manifest: Manifest, val engine: String, val version: String, val backend: String, val threads: Int, val loadNs: Long, val checked: Checked?, val run: () -> Unit)

/** What was measured of an entry: samples in nanoseconds, in the order of execution, in turns of these lengths. */
class Timed(val entry: Entry, val samples: LongArray, val turns: IntArray, val warmUp: Int, val time: String, val failure: String?) {
    /** For the screen. */
    fun sentence(): String {
        val name = "${entry.manifest.file.file}, ${entry.engine} (${entry.backend})"
        if (failure != null) return "$name: $failure"
        val ms = { share: Double -> "%.2f".format(Locale.ROOT, Statistics.percentile(samples, share) / 1e6) }
        return "$name: median ${ms(0.5)} ms, 10 % to 90 % ${ms(0.1)} to ${ms(0.9)} ms, ${samples.size} runs"
    }
}

/** The device, as far as Android tells an app. */
class Device(val id: String, val name: String, val soc: String?, val arch: String, val os: String, val memoryMb: Long?)

/** Warms up, then lets the engines take turns, so that a device that gets slower is slower for all of them. */
object Benchmark {
    /**
     * @param warmUp runs of each entry that are not counted.
     * @param turns of each entry; [runs] in each.
     * @param now UTC, ISO 8601.
     */
    fun measure(entries: List<Entry>, now: () -> String, warmUp: Int = 5, turns: Int = 6, runs: Int = 10, said: (String) -> Unit = {}): List<Timed> {
        val failures = HashMap<Entry, String>()
        val times = HashMap<Entry, String>()
        val samples = entries.associateWith { ArrayList<Long>() }
        for (entry in entries) guarded(entry, failures) { repeat(warmUp) { entry.run() } }
        for (turn in 1..turns) for (entry in entries) {
            if (entry in failures) continue
            said("Turn $turn of $turns: ${entry.manifest.file.file}, ${entry.engine}")
            times.getOrPut(entry, now)
            guarded(entry, failures) {
                repeat(runs) {
                    val start = System.nanoTime()
                    entry.run()
                    samples.getValue(entry).add(maxOf(1L, System.nanoTime() - start))
                }
            }
        }
        return entries.map { entry ->
            val all = samples.getValue(entry).toLongArray()
            val lengths = IntArray((all.size + runs - 1) / runs) { minOf(runs, all.size - it * runs) }
            Timed(entry, all, lengths, warmUp, times[entry] ?: now(), failures[entry])
        }
    }

    private fun guarded(entry: Entry, failures: MutableMap<Entry, String>, action: () -> Unit) {
        try {
            action()
        } catch (error: Problem) {
            failures[entry] = error.message ?: "it failed"
        }
    }

    /**
     * The record of one run: a line of JSON for each entry, which `mobile-bench import FILE` reads. It is a line of
     * mobile-bench's store (docs/bench.md of the project), version 1.
     *
     * @param run unique, the same for all that took turns.
     */
    fun record(results: List<Timed>, device: Device, run: String): String = results.joinToString("") { line(it, device, run).toString() + "\n" }

    private fun line(timed: Timed, device: Device, run: String): JSONObject {
        val manifest = timed.entry.manifest
        val flags = flags(timed)
        return JSONObject()
            .put("schema", 1)
            .put("time", timed.time)
            .put("run", run)
            .put("model", manifest.source)
            .put("artifact", artifact(manifest))
            .put("device", device(device))
            .put("runner", runner(timed.entry))
            .put("unit", "ns")
            .put("samples", JSONArray(timed.samples.toList()))
            .put("blocks", JSONArray(timed.turns.toList()))
            .put("starts", JSONArray(if (timed.turns.isEmpty()) listOf() else listOf(timed.turns.size)))
            .put("warmup", timed.warmUp)
            .put("load_ns", timed.entry.loadNs)
            .put("parity", parity(manifest))
            .put("check", timed.entry.checked?.let(::check) ?: JSONObject.NULL)
            .put("versions", JSONObject(manifest.tools.mapKeys { "export:${it.key}" } + ("app" to "1")))
            .put("marks", JSONArray(flags.keys.sorted()))
            .put("notes", JSONArray(flags.toSortedMap().map { "${it.key}: ${it.value}" }))
    }

    /** Keys are those of mobile_export.bench.record.FLAGS. */
    private fun flags(timed: Timed): Map<String, String> {
        val found = HashMap<String, String>()
        if (timed.failure != null) found["failed"] = timed.failure
        val checked = timed.entry.checked
        if (checked == null) found["unchecked"] = "the app could not compare the outputs" else if (!checked.passed) found["wrong_output"] = checked.sentence()
        return found
    }

    private fun artifact(manifest: Manifest) = JSONObject()
        .put("file", manifest.file.file)
        .put("format", manifest.format)
        .put("precision", manifest.precision)
        .put("sha256", manifest.file.sha256)
        .put("bytes", manifest.file.bytes)
        .put("input_shape", JSONArray(manifest.input.shape.toList()))

    private fun device(device: Device) = JSONObject()
        .put("spec", device.id)
        .put("kind", "app")
        .put("name", device.name)
        .put("soc", device.soc ?: JSONObject.NULL)
        .put("arch", device.arch)
        .put("os", device.os)
        .put("memory_mb", device.memoryMb ?: JSONObject.NULL)

    private fun runner(entry: Entry) = JSONObject()
        .put("name", entry.engine)
        .put("version", entry.version)
        .put("threads", entry.threads)
        .put("cores", JSONObject.NULL)
        .put("backend", entry.backend)
        .put("precision", if (entry.backend == "gpu") "fp16" else entry.manifest.precision)

    private fun parity(manifest: Manifest): JSONObject {
        val given = manifest.parity ?: JSONObject()
        return JSONObject(listOf("verdict", "max_rel", "tolerance", "runtime").associateWith { given.opt(it) ?: JSONObject.NULL })
    }

    private fun check(of: Checked) = JSONObject()
        .put("passed", of.passed)
        .put("max_rel", if (of.error.isInfinite() || of.error.isNaN()) JSONObject.NULL else of.error)
        .put("tolerance", of.tolerance)
        .put("compared", of.compared)
}
