package dev.mobileexport.sample

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import dev.mobileexport.kit.Manifest
import dev.mobileexport.kit.Port
import dev.mobileexport.kit.Problem
import dev.mobileexport.kit.Tensor
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/** A file that is loaded. Not for two threads at once; buffers are made once and used again. */
interface Session : AutoCloseable {
    /** What the next runs are given, in the file's layout. */
    fun set(input: Tensor)

    /** @throws Problem the engine failed. */
    fun run()

    /** In the manifest's order, in the file's layout. */
    fun outputs(): List<Tensor>
}

/** What can execute files here. */
enum class Engine(val label: String, val runner: String, val format: String, val backend: String) {
    TFLITE("TensorFlow Lite, CPU", "tensorflow-lite", "tflite", "cpu"),
    TFLITE_GPU("TensorFlow Lite, GPU", "tensorflow-lite", "tflite", "gpu"),
    ONNX("onnxruntime, CPU", "onnxruntime", "onnx", "cpu");

    /** The library that is in this app, with its version. */
    fun version(): String = if (format == "tflite") "TensorFlow Lite ${TensorFlowLite.runtimeVersion()}" else "onnxruntime ${OrtEnvironment.getEnvironment().version}"

    /** What arithmetic it does with a float32 file. */
    val precision: String get() = if (backend == "gpu") "fp16" else "fp32"

    /**
     * Loads a file.
     *
     * @throws Problem the engine is not in this app or on this device, or cannot load the file.
     */
    fun open(manifest: Manifest, file: File, threads: Int): Session = try {
        if (format == "tflite") TfliteSession(manifest, file, threads, backend == "gpu") else OnnxSession(manifest, file, threads)
    } catch (error: LinkageError) {
        throw Problem("$label is not in this build of the app.", error)
    } catch (error: RuntimeException) {
        throw Problem("$label cannot load ${file.name}: ${firstLine(error)}", error)
    } catch (error: OrtException) {
        throw Problem("$label cannot load ${file.name}: ${firstLine(error)}", error)
    } catch (error: IOException) {
        throw Problem("${file.name} cannot be read: ${firstLine(error)}", error)
    }

    companion object {
        /** Those that execute files of a format. @throws Problem none does. */
        fun of(format: String): List<Engine> {
            val found = entries.filter { it.format == format }
            if (found.isEmpty()) throw Problem("This app runs ${entries.map { it.format }.distinct().joinToString(" and ")} files; this one is of the format $format.")
            return found
        }
    }
}

internal fun firstLine(error: Throwable): String = (error.message ?: error.javaClass.simpleName).lineSequence().first().take(200)

private fun count(shape: IntArray): Int = shape.fold(1, Int::times)

private fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

private class TfliteSession(private val manifest: Manifest, file: File, threads: Int, gpu: Boolean) : Session {
    private val delegate: Delegate? = if (gpu) gpuDelegate() else null
    private val interpreter: Interpreter
    private val signature: String?
    private val input: ByteBuffer
    private val results = LinkedHashMap<String, ByteBuffer>()

    init {
        val options = Interpreter.Options().setNumThreads(threads)
        delegate?.let(options::addDelegate)
        val model = RandomAccessFile(file, "r").use { it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length()) }
        interpreter = Interpreter(model, options)
        try {
            signature = interpreter.signatureKeys.firstOrNull()
            input = direct(given(file).numBytes())
            manifest.fileOutputs.forEachIndexed { k, port -> results[port.name] = direct(maxOf(4, of(k, port).numBytes())) }
        } catch (error: Exception) { // whatever it is, the native part is let go
            close()
            throw error
        }
    }

    private fun given(file: File): org.tensorflow.lite.Tensor {
        val tensor = if (signature == null) interpreter.getInputTensor(0) else interpreter.getInputTensorFromSignature(manifest.picture.name, signature)
        if (tensor.dataType() != DataType.FLOAT32) throw Problem("${file.name} takes ${tensor.dataType()}; this app gives float32.")
        return tensor
    }

    private fun of(k: Int, port: Port) = if (signature == null) interpreter.getOutputTensor(k) else interpreter.getOutputTensorFromSignature(port.name, signature)

    override fun set(input: Tensor) {
        if (4 * input.values.size != this.input.capacity()) throw Problem("The file takes ${this.input.capacity() / 4} numbers; its manifest says ${input.values.size}.")
        this.input.rewind()
        this.input.asFloatBuffer().put(input.values)
    }

    override fun run() = try {
        input.rewind()
        results.values.forEach { it.rewind() }
        if (signature == null) {
            interpreter.runForMultipleInputsOutputs(arrayOf<Any>(input), results.values.withIndex().associate { it.index to it.value as Any })
        } else {
            interpreter.runSignature(mapOf<String, Any>(manifest.picture.name to input), results.toMap<String, Any>(), signature)
        }
    } catch (error: RuntimeException) {
        throw Problem("TensorFlow Lite failed: ${firstLine(error)}", error)
    }

    override fun outputs(): List<Tensor> = manifest.fileOutputs.mapIndexed { k, port ->
        val tensor = of(k, port)
        val buffer = results.getValue(port.name).apply { rewind() }
        val n = count(tensor.shape())
        val values = when (tensor.dataType()) {
            DataType.FLOAT32 -> buffer.asFloatBuffer().let { all -> FloatArray(n) { all.get(it) } }
            DataType.INT32 -> buffer.asIntBuffer().let { all -> FloatArray(n) { all.get(it).toFloat() } }
            DataType.INT64 -> buffer.asLongBuffer().let { all -> FloatArray(n) { all.get(it).toFloat() } }
            DataType.UINT8 -> FloatArray(n) { (buffer.get(it).toInt() and 0xff).toFloat() }
            else -> throw Problem("${port.name} is of ${tensor.dataType()}, which this app does not read.")
        }
        Tensor(tensor.shape(), values)
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    private companion object {
        /** By name: the delegate is a library of its own, which not every build of the app has. */
        fun gpuDelegate(): Delegate = try {
            Class.forName("org.tensorflow.lite.gpu.GpuDelegate").getConstructor().newInstance() as Delegate
        } catch (error: ReflectiveOperationException) {
            throw Problem("The GPU delegate is not in this build of the app, or this device has no GPU that it can use.", error)
        } catch (error: LinkageError) {
            throw Problem("The GPU delegate is not in this build of the app.", error)
        }
    }
}

private class OnnxSession(private val manifest: Manifest, file: File, threads: Int) : Session {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(threads)
        environment.createSession(file.path, options)
    }
    private var input: OnnxTensor? = null
    private var result: OrtSession.Result? = null
    private val names = manifest.fileOutputs.map { it.name }

    init {
        val missing = names.firstOrNull { it !in session.outputNames } ?: manifest.picture.name.takeIf { it !in session.inputNames }
        if (missing != null) throw Problem("${file.name} has nothing called $missing, which its manifest names.")
    }

    override fun set(input: Tensor) {
        this.input?.close()
        val buffer = direct(4 * input.values.size).asFloatBuffer().apply { put(input.values).rewind() }
        this.input = OnnxTensor.createTensor(environment, buffer, LongArray(input.shape.size) { input.shape[it].toLong() })
    }

    override fun run() = try {
        result?.close()
        result = session.run(mapOf(manifest.picture.name to input), names.toSet())
    } catch (error: OrtException) {
        throw Problem("onnxruntime failed: ${firstLine(error)}", error)
    }

    override fun outputs(): List<Tensor> = names.map { name ->
        val tensor = result!!.get(name).get() as? OnnxTensor ?: throw Problem("$name is no tensor.")
        val shape = tensor.info.shape
        val n = count(IntArray(shape.size) { shape[it].toInt() })
        val values = when (tensor.info.type) {
            OnnxJavaType.FLOAT, OnnxJavaType.FLOAT16 -> tensor.floatBuffer.let { all -> FloatArray(n) { all.get(it) } }
            OnnxJavaType.INT32 -> tensor.intBuffer.let { all -> FloatArray(n) { all.get(it).toFloat() } }
            OnnxJavaType.INT64 -> tensor.longBuffer.let { all -> FloatArray(n) { all.get(it).toFloat() } }
            else -> throw Problem("$name is of ${tensor.info.type}, which this app does not read.")
        }
        Tensor(IntArray(shape.size) { shape[it].toInt() }, values)
    }

    override fun close() {
        result?.close()
        input?.close()
        session.close()
    }
}
