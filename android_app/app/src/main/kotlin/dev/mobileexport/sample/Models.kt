package dev.mobileexport.sample

import android.content.Context
import dev.mobileexport.kit.Manifest
import dev.mobileexport.kit.Problem
import dev.mobileexport.kit.Samples
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest

/** A model that the app has, or why it cannot be used. */
class Model(val name: String, val manifest: Manifest?, val problem: String?, private val folder: File, private val asset: Boolean) {
    /**
     * The file, its companions beside it, whole.
     *
     * @throws Problem a file is missing, cut short, or not the one that its manifest is of.
     */
    fun file(context: Context): File {
        val known = manifest ?: throw Problem(problem ?: "$name cannot be used.")
        for (part in listOf(known.file) + known.companions) {
            val file = File(folder, part.file)
            if (asset && file.length() != part.bytes) copyAsset(context, part.file, file)
            if (!file.isFile) throw Problem("${part.file} is missing beside its manifest. Add both.")
            if (file.length() != part.bytes) throw Problem("${part.file} has ${file.length()} bytes; its manifest says ${part.bytes}. It was cut short: copy it again.")
            if (sha256(file) != part.sha256) throw Problem("${part.file} is not the file that its manifest is of: its SHA-256 differs. Copy both from where they were made.")
        }
        return File(folder, known.file.file)
    }

    private fun copyAsset(context: Context, name: String, to: File) {
        try {
            context.assets.open("${Models.ASSETS}/$name").use { from -> to.outputStream().use { from.copyTo(it) } }
        } catch (error: IOException) {
            throw Problem("$name is missing in the app, or there is no room to unpack it.", error)
        }
    }

    private fun sha256(file: File): String {
        val digest = MessageDigest.getInstance("SHA-256")
        val buffer = ByteArray(1 shl 16)
        file.inputStream().use { stream ->
            while (true) {
                val count = stream.read(buffer)
                if (count < 0) break
                digest.update(buffer, 0, count)
            }
        }
        return Samples.hex(digest.digest())
    }
}

/** The models of the app's assets, and those that the user added from storage. */
class Models(private val context: Context) {
    private val added = File(context.filesDir, ASSETS).apply { mkdirs() }
    private val unpacked = File(context.cacheDir, ASSETS).apply { mkdirs() }

    /** All of them, by name; one that cannot be used says why. */
    fun all(): List<Model> {
        val own = context.assets.list(ASSETS).orEmpty().filter { it.endsWith(SUFFIX) }.map { name ->
            model(name, unpacked, true) { context.assets.open("$ASSETS/$name").use { read(it, name) } }
        }
        val users = added.list().orEmpty().filter { it.endsWith(SUFFIX) }.map { name ->
            model(name, added, false) { File(added, name).inputStream().use { read(it, name) } }
        }
        return (own + users).sortedBy { it.name }
    }

    private fun model(name: String, folder: File, asset: Boolean, text: () -> String): Model = try {
        val manifest = Manifest.read(text(), name)
        val twice = manifest.file.file + SUFFIX != name
        if (twice) throw Problem("$name is the manifest of ${manifest.file.file}. A manifest is called as its file, with $SUFFIX behind it.")
        Model(manifest.file.file, manifest, null, folder, asset)
    } catch (problem: Problem) {
        Model(name.removeSuffix(SUFFIX), null, problem.message, folder, asset)
    }

    /**
     * Copies files that the user chose.
     *
     * @param files name and what opens it; a model, what it needs beside it, and its manifest.
     * @throws Problem a name is there already or twice, or a file has no manifest; then nothing was added.
     */
    fun add(files: List<Pair<String, () -> InputStream>>) {
        val names = files.map { it.first }
        names.firstOrNull { '/' in it || it.startsWith(".") }?.let { throw Problem("\"$it\" is no name of a file.") }
        names.groupingBy { it }.eachCount().entries.firstOrNull { it.value > 1 }?.let { throw Problem("Two of the files are called ${it.key}. Add them one after the other, with other names.") }
        val have = all().map { it.name }.toSet() + added.list().orEmpty()
        names.firstOrNull { it in have || it.removeSuffix(SUFFIX) in have }?.let { throw Problem("There is a file called $it already. Remove it, or give the other one another name.") }
        val manifests = files.filter { it.first.endsWith(SUFFIX) }
        if (manifests.isEmpty()) throw Problem("${names.joinToString()}: there is no manifest. Choose the file and FILE$SUFFIX, which mobile-export wrote beside it, together.")
        val parts = manifests.flatMap { (name, open) -> open().use { Manifest.read(read(it, name), name) }.let { m -> listOf(m.file) + m.companions } }.map { it.file }
        parts.firstOrNull { it !in names }?.let { throw Problem("$it is missing: choose it together with its manifest.") }
        names.firstOrNull { it !in parts && !it.endsWith(SUFFIX) }?.let { throw Problem("$it has no manifest among the chosen files. Choose $it$SUFFIX, too.") }
        copy(files)
    }

    private fun copy(files: List<Pair<String, () -> InputStream>>) {
        try {
            files.forEach { (name, open) -> open().use { from -> File(added, name).outputStream().use { from.copyTo(it) } } }
        } catch (error: IOException) {
            files.forEach { File(added, it.first).delete() }
            throw Problem("The files could not be copied: ${error.message}.", error)
        }
    }

    private fun read(stream: InputStream, name: String): String {
        val bytes = stream.readNBytesCompat(MOST_MANIFEST + 1)
        if (bytes.size > MOST_MANIFEST) throw Problem("$name is no manifest: it is larger than $MOST_MANIFEST bytes.")
        return bytes.decodeToString()
    }

    companion object {
        const val ASSETS = "models"
        const val SUFFIX = ".manifest.json"
        private const val MOST_MANIFEST = 64 shl 20
    }
}

/** InputStream.readNBytes is of Android 13. */
private fun InputStream.readNBytesCompat(most: Int): ByteArray {
    val out = java.io.ByteArrayOutputStream()
    val buffer = ByteArray(1 shl 16)
    while (out.size() < most) {
        val count = read(buffer, 0, minOf(buffer.size, most - out.size()))
        if (count < 0) break
        out.write(buffer, 0, count)
    }
    return out.toByteArray()
}
