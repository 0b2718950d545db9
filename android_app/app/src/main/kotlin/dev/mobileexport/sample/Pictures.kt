package dev.mobileexport.sample

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.media.ExifInterface
import android.net.Uri
import dev.mobileexport.kit.Pixels
import dev.mobileexport.kit.Problem
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream

/** A photo, upright, and what was done to it in words; empty where nothing was. */
class Photo(val pixels: Pixels, val words: String)

/** Pictures of unknown origin, decoded after their size was read. */
object Pictures {
    private const val MOST_BYTES = 256 shl 20
    private const val MOST_PIXELS = 1L shl 24

    /** @throws Problem it cannot be opened or read. */
    fun open(context: Context, uri: Uri): Photo = try {
        decode((context.contentResolver.openInputStream(uri) ?: throw Problem("The picture cannot be opened.")).use(::read))
    } catch (error: IOException) {
        throw Problem("The picture cannot be opened: ${firstLine(error)}", error)
    } catch (error: SecurityException) {
        throw Problem("The picture may no longer be read. Choose it again.", error)
    }

    /** The picture that is in the app. */
    fun bundled(context: Context): Photo = decode(context.assets.open("sample.jpg").use(::read))

    /**
     * A JPEG, PNG, WebP or whatever this Android decodes; large ones at a half, a quarter, … of their sides.
     *
     * @throws Problem it is none, is damaged, or there is not enough memory for it.
     */
    fun decode(content: ByteArray): Photo {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(content, 0, content.size, bounds)
        val (width, height) = bounds.outWidth to bounds.outHeight
        if (width < 1 || height < 1) throw Problem(unreadable(content))
        var step = 1
        while (width.toLong() * height / step / step > MOST_PIXELS) step *= 2
        val bitmap = try {
            BitmapFactory.decodeByteArray(content, 0, content.size, options(step))
        } catch (error: OutOfMemoryError) {
            throw Problem("There is not enough memory for a picture of ${width}x$height pixels.", error)
        } ?: throw Problem(unreadable(content))
        val words = if (step == 1) "" else "the photo of ${width}x$height pixels was read at 1/$step of its sides"
        return Photo(pixels(bitmap).upright(orientation(content)), words)
    }

    /** The pixels of a bitmap. */
    fun pixels(bitmap: Bitmap): Pixels {
        val argb = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        return Pixels.ofArgb(bitmap.width, bitmap.height, argb)
    }

    /** A bitmap of pixels. */
    fun bitmap(pixels: Pixels): Bitmap = Bitmap.createBitmap(pixels.argb(), pixels.width, pixels.height, Bitmap.Config.ARGB_8888)

    private fun options(step: Int) = BitmapFactory.Options().apply {
        inSampleSize = step
        inPreferredConfig = Bitmap.Config.ARGB_8888
        inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
        inScaled = false
    }

    private fun unreadable(content: ByteArray): String {
        val kind = if (content.size > 12) String(content, 4, 8, Charsets.ISO_8859_1) else ""
        if (kind.startsWith("ftyp")) return "This device has no decoder for HEIC and AVIF pictures, or the file is damaged. Save it as JPEG."
        return "This is no picture that can be read, or it is damaged. Choose a JPEG or PNG file."
    }

    private fun orientation(content: ByteArray): Int = try {
        ExifInterface(ByteArrayInputStream(content)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
    } catch (error: IOException) {
        1
    }

    private fun read(stream: InputStream): ByteArray {
        val out = ByteArrayOutputStream()
        val buffer = ByteArray(1 shl 16)
        while (true) {
            val count = stream.read(buffer)
            if (count < 0) return out.toByteArray()
            out.write(buffer, 0, count)
            if (out.size() > MOST_BYTES) throw Problem("The picture is larger than $MOST_BYTES bytes.")
        }
    }
}
