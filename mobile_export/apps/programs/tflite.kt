import dev.mobileexport.kit.Answer
import dev.mobileexport.kit.Answers
import dev.mobileexport.kit.Manifest
import dev.mobileexport.kit.Pixels
import dev.mobileexport.kit.Prepare
import dev.mobileexport.kit.Tensor
import org.tensorflow.lite.Interpreter
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val FILE = @file@

/** The answer on a photo: [folder] holds the file and its manifest. */
fun answer(folder: File, photo: Pixels): Answer {
    val manifest = Manifest.read(File(folder, "$FILE.manifest.json").readText(), FILE)
    val prepared = Prepare.picture(photo, manifest.input, manifest.rule)
    val input = Prepare.tensor(prepared.shown, manifest.picture, manifest.input)
    return Answers.decode(run(File(folder, FILE), input), manifest, prepared)
}

private fun run(file: File, input: Tensor): List<Tensor> = Interpreter(file).use { interpreter ->
    val signature = interpreter.signatureKeys.first()
    fun floats(count: Int) = ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder())
    fun output(name: String) = interpreter.getOutputTensorFromSignature(name, signature)
    val given = floats(input.values.size).apply { asFloatBuffer().put(input.values) }
    val results = listOf(@outputs@).associateWith { floats(output(it).numElements()) }
    interpreter.runSignature(mapOf<String, Any>(@input@ to given), results.toMap<String, Any>(), signature)
    results.map { (name, bytes) ->
        bytes.rewind()
        val values = bytes.asFloatBuffer()
        Tensor(output(name).shape(), FloatArray(values.remaining()) { values.get(it) })
    }
}
