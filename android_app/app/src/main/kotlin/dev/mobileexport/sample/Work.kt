package dev.mobileexport.sample

import android.os.Handler
import android.os.Looper
import dev.mobileexport.kit.Problem
import java.util.concurrent.Executors

/** One thread for everything that takes time; what it finds is told on the main thread. */
object Work {
    private val thread = Executors.newSingleThreadExecutor { Thread(it, "work").apply { isDaemon = true } }
    private val main = Handler(Looper.getMainLooper())

    /** Runs [action]; then [done] with its result, or [failed] with a sentence. */
    fun <T> run(action: () -> T, failed: (String) -> Unit, done: (T) -> Unit) {
        thread.execute {
            try {
                val result = action()
                main.post { done(result) }
            } catch (problem: Problem) {
                main.post { failed(problem.message ?: "It failed.") }
            } catch (error: RuntimeException) { // a manifest may say anything, and no manifest ends the app
                main.post { failed("This cannot be done with this model and picture: ${firstLine(error)}") }
            } catch (error: OutOfMemoryError) {
                main.post { failed("There is not enough memory on this device for this model and picture.") }
            }
        }
    }

    /** On the main thread, soon. */
    fun tell(action: () -> Unit) {
        main.post(action)
    }
}
