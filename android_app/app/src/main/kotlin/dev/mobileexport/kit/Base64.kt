package dev.mobileexport.kit

/** RFC 4648, section 4. java.util.Base64 has it from Android 8.0 on, which is the oldest that the app runs on. */
internal object Base64 {
    /** The bytes, or null where [text] is no base64. */
    fun decode(text: String): ByteArray? = try {
        java.util.Base64.getDecoder().decode(text)
    } catch (error: IllegalArgumentException) {
        null
    }
}
