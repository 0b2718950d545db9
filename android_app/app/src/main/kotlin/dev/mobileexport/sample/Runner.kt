package dev.mobileexport.sample

import android.content.Context
import dev.mobileexport.kit.Answer
import dev.mobileexport.kit.Answers
import dev.mobileexport.kit.Benchmark
import dev.mobileexport.kit.Check
import dev.mobileexport.kit.Checked
import dev.mobileexport.kit.Entry
import dev.mobileexport.kit.Manifest
import dev.mobileexport.kit.Pixels
import dev.mobileexport.kit.Prepare
import dev.mobileexport.kit.Prepared
import dev.mobileexport.kit.Problem
import dev.mobileexport.kit.Timed

/** An answer, with what the model was shown and how long the file took. */
class Answered(val answer: Answer, val prepared: Prepared, val milliseconds: Double)

/** A model under an engine, kept loaded. */
class Loaded(val manifest: Manifest, val engine: Engine, private val session: Session, val threads: Int, val loadNs: Long) : AutoCloseable {
    /** @throws Problem the model takes no picture, or the engine failed. */
    fun answer(photo: Pixels): Answered {
        val prepared = Prepare.picture(photo, manifest.input, manifest.rule)
        session.set(Prepare.tensor(prepared.shown, manifest.picture, manifest.input))
        val start = System.nanoTime()
        session.run()
        val spent = (System.nanoTime() - start) / 1e6
        return Answered(Answers.decode(session.outputs(), manifest, prepared), prepared, spent)
    }

    /** The manifest's sample against its expected outputs. @throws Problem they cannot be compared. */
    fun check(): Checked {
        session.set(Check.input(manifest))
        session.run()
        return Check.compare(session.outputs(), manifest, engine.precision)
    }

    /** For the benchmark; the sample input where it can be made, zeros otherwise. */
    fun entry(): Entry {
        val checked = try {
            check()
        } catch (problem: Problem) {
            session.set(Prepare.arranged(FloatArray(manifest.input.shape.fold(1, Int::times)), manifest.picture, manifest.input.shape))
            null
        }
        return Entry(manifest, engine.runner, engine.version(), engine.backend, threads, loadNs, checked, session::run)
    }

    override fun close() = session.close()

    companion object {
        /** @throws Problem the file is not what its manifest says, or cannot be loaded. */
        fun load(context: Context, model: Model, engine: Engine, threads: Int): Loaded {
            val file = model.file(context)
            val manifest = model.manifest!!
            if (manifest.format != engine.format) throw Problem("${engine.label} runs ${engine.format} files; this one is of the format ${manifest.format}.")
            val start = System.nanoTime()
            val session = engine.open(manifest, file, threads)
            return Loaded(manifest, engine, session, threads, System.nanoTime() - start)
        }

        /** Every file of the same source, under every engine that can run it, in turns. What cannot is told by [said]. */
        fun benchmark(context: Context, model: Model, threads: Int, runs: Int, said: (String) -> Unit): List<Timed> {
            val source = model.manifest!!.source
            val loaded = ArrayList<Loaded>()
            try {
                for (each in Models(context).all().filter { it.manifest?.source == source }) {
                    for (engine in Engine.entries.filter { it.format == each.manifest?.format }) {
                        try {
                            loaded.add(load(context, each, engine, threads))
                        } catch (problem: Problem) {
                            said("${each.name}: ${problem.message}")
                        }
                    }
                }
                if (loaded.isEmpty()) throw Problem("Nothing here can run ${model.name}.")
                return Benchmark.measure(loaded.map { it.entry() }, { java.time.Instant.now().toString() }, runs = runs, said = said)
            } finally {
                loaded.forEach { it.close() }
            }
        }
    }
}
