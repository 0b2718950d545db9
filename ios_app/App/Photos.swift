import CoreGraphics
import CoreVideo
import Foundation
import ImageIO
import MobileExportKit

/// From files and frames to pictures of the kit, and back.
enum Photos {
    /// A file of any kind that this device decodes, upright.
    ///
    /// - Throws: `KitError`: it is too large, no picture, or cannot be decoded here.
    static func decode(_ data: Data, name: String) throws -> Picture {
        let file = try PictureFile(data, name: name)
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
            let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        else { throw file.undecodable(name: name) }
        if let width = facts[kCGImagePropertyPixelWidth] as? Int,
            let height = facts[kCGImagePropertyPixelHeight] as? Int
        {
            try Picture.checkSize(width, height)
        }
        guard let image = CGImageSourceCreateImageAtIndex(source, 0, nil) else {
            throw file.undecodable(name: name)
        }
        let orientation = facts[kCGImagePropertyOrientation] as? Int ?? file.orientation
        return try picture(image, name: name).upright(orientation: orientation)
    }

    /// Drawn into sRGB of 8 bits: grey and CMYK become colours, transparency is dropped.
    static func picture(_ image: CGImage, name: String) throws -> Picture {
        try Picture.checkSize(image.width, image.height)
        let stride = 4 * image.width
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: nil, width: image.width, height: image.height, bitsPerComponent: 8, bytesPerRow: stride,
                space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw KitError("There is not enough memory for \(name).") }
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        guard let bytes = context.data else { throw KitError("There is not enough memory for \(name).") }
        let raw = UnsafeRawBufferPointer(start: bytes, count: stride * image.height)
        return try Picture(rgbx: raw, width: image.width, height: image.height, bytesPerRow: stride)
    }

    /// A frame of the camera, in BGRA.
    static func picture(_ frame: CVPixelBuffer) throws -> Picture {
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        guard let bytes = CVPixelBufferGetBaseAddress(frame) else { throw KitError("The camera gave an empty frame.") }
        let (width, height) = (CVPixelBufferGetWidth(frame), CVPixelBufferGetHeight(frame))
        let stride = CVPixelBufferGetBytesPerRow(frame)
        let raw = UnsafeRawBufferPointer(start: bytes, count: stride * height)
        return try Picture(rgbx: raw, width: width, height: height, bytesPerRow: stride, blueFirst: true)
    }
}

extension Picture {
    func cgImage() throws -> CGImage {
        let data = Data(rgbx()) as CFData
        guard let provider = CGDataProvider(data: data), let space = CGColorSpace(name: CGColorSpace.sRGB),
            let image = CGImage(
                width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * width,
                space: space, bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue),
                provider: provider, decode: nil, shouldInterpolate: false, intent: .defaultIntent)
        else { throw KitError("There is not enough memory for a picture of \(width)x\(height).") }
        return image
    }
}
