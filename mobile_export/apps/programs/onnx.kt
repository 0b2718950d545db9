import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import dev.mobileexport.kit.Answer
import dev.mobileexport.kit.Answers
import dev.mobileexport.kit.Manifest
import dev.mobileexport.kit.Pixels
import dev.mobileexport.kit.Prepare
import dev.mobileexport.kit.Tensor
import java.io.File
import java.nio.FloatBuffer

private const val FILE = @file@

/** The answer on a photo: [folder] holds the file and its manifest. */
fun answer(folder: File, photo: Pixels): Answer {
    val manifest = Manifest.read(File(folder, "$FILE.manifest.json").readText(), FILE)
    val prepared = Prepare.picture(photo, manifest.input, manifest.rule)
    val input = Prepare.tensor(prepared.shown, manifest.picture, manifest.input)
    return Answers.decode(run(File(folder, FILE), input), manifest, prepared)
}

private fun run(file: File, input: Tensor): List<Tensor> {
    val environment = OrtEnvironment.getEnvironment()
    val shape = LongArray(input.shape.size) { input.shape[it].toLong() }
    environment.createSession(file.path).use { session ->
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(input.values), shape).use { tensor ->
            session.run(mapOf(@input@ to tensor)).use { result ->
                return listOf(@outputs@).map { name ->
                    val output = result.get(name).get() as OnnxTensor
                    val extents = output.info.shape
                    val values = output.floatBuffer
                    Tensor(IntArray(extents.size) { extents[it].toInt() }, FloatArray(values.remaining()) { values.get(it) })
                }
            }
        }
    }
}
