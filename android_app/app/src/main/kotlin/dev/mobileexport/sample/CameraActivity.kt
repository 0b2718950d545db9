package dev.mobileexport.sample

import android.Manifest.permission.CAMERA
import android.annotation.SuppressLint
import android.app.Activity
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.os.Bundle
import android.view.Surface
import android.view.TextureView
import android.widget.ImageView
import android.widget.TextView
import dev.mobileexport.kit.Problem

/**
 * The answer on what the camera sees. Frames are taken from the preview as it is shown, so they are upright, and only
 * when the last one has been answered, so that they never queue.
 */
class CameraActivity : Activity(), TextureView.SurfaceTextureListener {
    private var camera: CameraDevice? = null
    private var surface: Surface? = null
    private var loaded: Loaded? = null
    private var busy = true
    private val preview: TextureView get() = findViewById(R.id.preview)

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.camera)
        val name = intent.getStringExtra(MODEL).orEmpty()
        val engine = Engine.entries.firstOrNull { it.name == intent.getStringExtra(ENGINE) } ?: Engine.TFLITE
        Work.run({
            val model = Models(this).all().firstOrNull { it.name == name } ?: throw Problem("There is no model called $name.")
            Loaded.load(this, model, engine, ModelActivity.THREADS)
        }, ::say) {
            loaded = it
            busy = false
        }
        preview.surfaceTextureListener = this
        if (checkSelfPermission(CAMERA) != PackageManager.PERMISSION_GRANTED) requestPermissions(arrayOf(CAMERA), 1)
    }

    override fun onRequestPermissionsResult(code: Int, names: Array<out String>, results: IntArray) {
        if (results.firstOrNull() != PackageManager.PERMISSION_GRANTED) return say(getString(R.string.no_permission))
        preview.surfaceTexture?.let(::start)
    }

    override fun onSurfaceTextureAvailable(texture: SurfaceTexture, width: Int, height: Int) {
        if (checkSelfPermission(CAMERA) == PackageManager.PERMISSION_GRANTED) start(texture)
    }

    @SuppressLint("MissingPermission") // both callers have looked
    private fun start(texture: SurfaceTexture) {
        val manager = getSystemService(CameraManager::class.java)
        try {
            val ids = manager.cameraIdList
            val back = ids.firstOrNull { manager.getCameraCharacteristics(it).get(CameraCharacteristics.LENS_FACING) == CameraCharacteristics.LENS_FACING_BACK }
            val id = back ?: ids.firstOrNull() ?: return say(getString(R.string.no_camera))
            texture.setDefaultBufferSize(WIDTH, HEIGHT)
            surface = Surface(texture)
            manager.openCamera(id, Opened(), null)
        } catch (error: CameraAccessException) {
            say("The camera cannot be opened: ${firstLine(error)}")
        }
    }

    private inner class Opened : CameraDevice.StateCallback() {
        override fun onOpened(device: CameraDevice) {
            camera = device
            val target = surface ?: return
            try {
                val request = device.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW).apply { addTarget(target) }.build()
                @Suppress("DEPRECATION") // SessionConfiguration is of Android 9
                device.createCaptureSession(listOf(target), object : CameraCaptureSession.StateCallback() {
                    override fun onConfigured(session: CameraCaptureSession) {
                        session.setRepeatingRequest(request, null, null)
                    }

                    override fun onConfigureFailed(session: CameraCaptureSession) = say("The camera refused the preview.")
                }, null)
            } catch (error: CameraAccessException) {
                say("The camera cannot be opened: ${firstLine(error)}")
            }
        }

        override fun onDisconnected(device: CameraDevice) = device.close()

        override fun onError(device: CameraDevice, code: Int) {
            device.close()
            say("The camera failed (error $code).")
        }
    }

    override fun onSurfaceTextureUpdated(texture: SurfaceTexture) {
        if (!busy) preview.getBitmap(HEIGHT, WIDTH)?.let(::answer)
    }

    /** Answers one frame; while it does, others are let go. */
    fun answer(frame: Bitmap) {
        val model = loaded ?: return
        busy = true
        Work.run({
            val answered = model.answer(Pictures.pixels(frame))
            Drawing.show(answered.answer, answered.prepared) to answered.milliseconds
        }, ::say) { (shown, spent) ->
            findViewById<ImageView>(R.id.picture).setImageBitmap(shown.picture)
            findViewById<TextView>(R.id.answer).text = ModelActivity.coloured(shown.lines)
            say("%.1f ms".format(spent))
            busy = false
        }
    }

    override fun onSurfaceTextureSizeChanged(texture: SurfaceTexture, width: Int, height: Int) = Unit

    override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean {
        camera?.close()
        camera = null
        return true
    }

    override fun onDestroy() {
        super.onDestroy()
        camera?.close()
        val last = loaded
        loaded = null
        Work.run({ last?.close() }, {}) {} // behind the frame that is being answered
    }

    private fun say(text: String) = runOnUiThread { findViewById<TextView>(R.id.message).text = text }

    companion object {
        const val MODEL = ModelActivity.MODEL
        const val ENGINE = "engine"
        private const val WIDTH = 640
        private const val HEIGHT = 480
    }
}
