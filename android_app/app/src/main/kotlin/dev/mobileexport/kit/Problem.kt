package dev.mobileexport.kit

/** What went wrong, as a sentence for the person at the screen. */
class Problem(message: String, cause: Throwable? = null) : Exception(message, cause)
