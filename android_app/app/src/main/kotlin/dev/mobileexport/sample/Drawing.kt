package dev.mobileexport.sample

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import dev.mobileexport.kit.Answer
import dev.mobileexport.kit.Colours
import dev.mobileexport.kit.Pixels
import dev.mobileexport.kit.Prepared
import java.util.Locale
import kotlin.math.max
import kotlin.math.roundToInt

/** A line below the picture, with the colour that it explains. */
class Line(val text: String, val colour: Int? = null)

/** An answer, drawn, and its lines. */
class Shown(val picture: Bitmap, val lines: List<Line>)

/** Draws answers. */
object Drawing {
    private const val MOST_LINES = 12
    private const val LONGEST_SIDE = 1280
    private const val OPACITY = 140

    fun show(answer: Answer, prepared: Prepared): Shown = when (answer) {
        is Answer.Classes -> Shown(photo(prepared), answer.classes.map { Line("${name(it.name, it.index)}  ${share(it.probability)}") })
        is Answer.Objects -> objects(answer, prepared)
        is Answer.Regions -> regions(answer, prepared)
        is Answer.Image -> Shown(beside(prepared.shown.rgb(), answer.pixels.rgb()), listOf(Line("left: given, ${size(prepared.shown)}; right: answer, ${size(answer.pixels)}")))
        is Answer.Map -> map(answer, prepared)
        is Answer.Unknown -> Shown(photo(prepared), answer.outputs.map { Line("${it.name} ${it.shape.joinToString("x")}: %.4g to %.4g".format(Locale.ROOT, it.least, it.greatest)) })
    }

    private fun name(name: String?, index: Int) = name?.take(60) ?: "class $index"

    private fun share(value: Double) = "%.1f %%".format(Locale.ROOT, 100 * value)

    private fun size(of: Pixels) = "${of.width}x${of.height}"

    /** The photo, not larger than a screen needs. */
    private fun photo(prepared: Prepared): Bitmap = scaled(Pictures.bitmap(prepared.photo))

    private fun scaled(bitmap: Bitmap): Bitmap {
        val factor = LONGEST_SIDE.toDouble() / max(bitmap.width, bitmap.height)
        if (factor >= 1) return bitmap
        return Bitmap.createScaledBitmap(bitmap, max(1, (bitmap.width * factor).roundToInt()), max(1, (bitmap.height * factor).roundToInt()), true)
    }

    private fun objects(answer: Answer.Objects, prepared: Prepared): Shown {
        val canvas = photo(prepared).copy(Bitmap.Config.ARGB_8888, true)
        val scale = canvas.width.toDouble() / prepared.photo.width
        val pen = Canvas(canvas)
        val frame = Paint().apply { style = Paint.Style.STROKE; strokeWidth = max(1f, canvas.width / 200f) }
        val ground = Paint()
        val text = Paint(Paint.ANTI_ALIAS_FLAG).apply { textSize = max(10f, max(canvas.width, canvas.height) / 32f) }
        for (thing in answer.objects.reversed()) { // the surest last, on top
            val (left, top, right, bottom) = FloatArray(4) { (thing.box[it] * scale).toFloat() }
            frame.color = Colours.argb(thing.index)
            ground.color = frame.color
            pen.drawRect(left, top, right, bottom, frame)
            val label = "${name(thing.name, thing.index)} ${share(thing.score)}"
            pen.drawRect(left, top, left + text.measureText(label), top + 1.2f * text.textSize, ground)
            pen.drawText(label, left, top + text.textSize, text)
        }
        val lines = answer.objects.take(MOST_LINES).map { Line("${name(it.name, it.index)}  ${share(it.score)}", Colours.argb(it.index)) }
        return Shown(canvas, lines.ifEmpty { listOf(Line("Nothing was found.")) })
    }

    private operator fun FloatArray.component4() = this[3]

    private fun regions(answer: Answer.Regions, prepared: Prepared): Shown {
        val canvas = Pictures.bitmap(prepared.shown).copy(Bitmap.Config.ARGB_8888, true)
        val mask = Bitmap.createBitmap(IntArray(answer.labels.size) { Colours.argb(answer.labels[it]) }, answer.width, answer.height, Bitmap.Config.ARGB_8888)
        val sized = Bitmap.createScaledBitmap(mask, canvas.width, canvas.height, false)
        Canvas(canvas).drawBitmap(sized, 0f, 0f, Paint().apply { alpha = OPACITY })
        return Shown(canvas, answer.regions.take(MOST_LINES).map { Line("${name(it.name, it.index)}  ${share(it.share)}", Colours.argb(it.index)) })
    }

    private fun map(answer: Answer.Map, prepared: Prepared): Shown {
        val grey = IntArray(answer.values.size) { val v = (255 * answer.values[it]).roundToInt().coerceIn(0, 255); Color.rgb(v, v, v) }
        val map = Bitmap.createBitmap(grey, answer.width, answer.height, Bitmap.Config.ARGB_8888)
        val words = if (answer.near) "right: bright is near, relative to this picture" else "right: bright is likely"
        return Shown(beside(prepared.shown.rgb(), Pictures.pixels(map)), listOf(Line(words)))
    }

    /** Two pictures at one height. */
    private fun beside(left: Pixels, right: Pixels): Bitmap {
        val height = max(left.height, right.height).coerceAtMost(LONGEST_SIDE)
        val parts = listOf(left, right).map { Bitmap.createScaledBitmap(Pictures.bitmap(it), max(1, it.width * height / it.height), height, it.height < height) }
        val whole = Bitmap.createBitmap(parts[0].width + parts[1].width, height, Bitmap.Config.ARGB_8888)
        val pen = Canvas(whole)
        pen.drawBitmap(parts[0], 0f, 0f, null)
        pen.drawBitmap(parts[1], parts[0].width.toFloat(), 0f, null)
        return whole
    }
}
