package dev.mobileexport.sample

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.provider.OpenableColumns
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.ListView
import android.widget.TextView
import dev.mobileexport.kit.Problem
import java.io.FileNotFoundException
import java.io.InputStream

/** The list of models. */
class MainActivity : Activity() {
    private lateinit var models: List<Model>

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        findViewById<Button>(R.id.add).setOnClickListener { choose() }
        findViewById<ListView>(R.id.models).setOnItemClickListener { _, _, place, _ -> open(models[place]) }
        refresh()
    }

    private fun refresh() = Work.run({ Models(this).all() }, ::say) { found ->
        models = found
        val lines = found.map { model -> model.manifest?.let { "${model.name}\n${it.task ?: "tensors"}, ${it.input.shape.drop(2).joinToString("x")}" } ?: "${model.name}\n${model.problem}" }
        findViewById<ListView>(R.id.models).adapter = ArrayAdapter(this, R.layout.row, R.id.row, lines)
        if (found.isEmpty()) say(getString(R.string.no_models))
    }

    private fun open(model: Model) {
        model.problem?.let { return say(it) }
        startActivity(Intent(this, ModelActivity::class.java).putExtra(ModelActivity.MODEL, model.name))
    }

    private fun choose() {
        val ask = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*").putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true)
        @Suppress("DEPRECATION") // its successor is part of AndroidX
        startActivityForResult(ask, FILES)
    }

    @Deprecated("Its successor is part of AndroidX.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        if (request != FILES || result != RESULT_OK || data == null) return
        val clip = data.clipData
        val chosen = if (clip == null) listOfNotNull(data.data) else List(clip.itemCount) { clip.getItemAt(it).uri }
        Work.run({ Models(this).add(chosen.map { nameOf(it) to { opened(it) } }) }, ::say) {
            say(getString(R.string.added))
            refresh()
        }
    }

    private fun opened(uri: Uri): InputStream = try {
        contentResolver.openInputStream(uri)
    } catch (error: FileNotFoundException) {
        null
    } ?: throw Problem("A chosen file cannot be opened. Choose it again.")

    private fun nameOf(uri: Uri): String {
        contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use { rows ->
            if (rows.moveToFirst()) rows.getString(0)?.let { return it }
        }
        return uri.lastPathSegment?.substringAfterLast('/') ?: throw Problem("A chosen file has no name.")
    }

    private fun say(text: String) {
        findViewById<TextView>(R.id.message).text = text
    }

    private companion object {
        const val FILES = 1
    }
}
