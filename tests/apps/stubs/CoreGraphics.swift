@_exported import Foundation

public typealias CFData = Data
public typealias CFString = String
/// No dictionary of Swift, which it is cast to.
public typealias CFDictionary = NSDictionary
public final class CGColorSpace {
    public static let sRGB: CFString = ""
    public init?(name: CFString) {}
}
public enum CGImageAlphaInfo: UInt32 { case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast }
public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}
public enum CGColorRenderingIntent { case defaultIntent }
public final class CGDataProvider { public init?(data: CFData) {} }
public final class CGImage {
    public let width = 0
    public let height = 0
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: CGBitmapInfo, provider: CGDataProvider, decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool,
        intent: CGColorRenderingIntent
    ) {}
}
public final class CGContext {
    public var data: UnsafeMutableRawPointer? { nil }
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) {}
    public func draw(_ image: CGImage, in rect: CGRect) {}
}
