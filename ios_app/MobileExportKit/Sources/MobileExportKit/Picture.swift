import Foundation

/// A picture of 8 bits: RGB, or grey where `channels` is 1; rows from the top, channels last.
public struct Picture: Equatable, Sendable {
    /// Of a larger picture the app says that it is too large, before it is decoded.
    public static let mostPixels = 1 << 26

    public let width: Int
    public let height: Int
    public let channels: Int
    public let pixels: [UInt8]

    /// - Throws: `KitError`: the size is not valid, or the pixels are not as many as it says.
    public init(width: Int, height: Int, channels: Int = 3, pixels: [UInt8]) throws {
        try Picture.checkSize(width, height)
        guard channels == 1 || channels == 3, pixels.count == width * height * channels else {
            throw KitError(
                "A picture of \(width)x\(height) pixels and \(channels) channels cannot have "
                    + "\(grouped(pixels.count)) bytes.")
        }
        self.init(trusted: width, height, channels, pixels)
    }

    init(trusted width: Int, _ height: Int, _ channels: Int, _ pixels: [UInt8]) {
        self.width = width
        self.height = height
        self.channels = channels
        self.pixels = pixels
    }

    /// RGB of a bitmap with a fourth byte, which is dropped, such as Core Graphics draws.
    ///
    /// - Parameter blueFirst: it is BGRA, as frames of the camera are.
    public init(
        rgbx: UnsafeRawBufferPointer, width: Int, height: Int, bytesPerRow: Int, blueFirst: Bool = false
    ) throws {
        try Picture.checkSize(width, height)
        guard bytesPerRow >= 4 * width, rgbx.count >= (height - 1) * bytesPerRow + 4 * width else {
            throw KitError("The bitmap of \(width)x\(height) pixels is incomplete.")
        }
        let pixels = [UInt8](unsafeUninitializedCapacity: width * height * 3) { buffer, count in
            for y in 0..<height {
                for x in 0..<width {
                    let from = y * bytesPerRow + 4 * x
                    let to = 3 * (y * width + x)
                    for c in 0..<3 { buffer[to + c] = rgbx[from + (blueFirst ? 2 - c : c)] }
                }
            }
            count = width * height * 3
        }
        self.init(trusted: width, height, 3, pixels)
    }

    /// - Throws: `KitError`: a side is 0, or there are more than `mostPixels`.
    public static func checkSize(_ width: Int, _ height: Int) throws {
        if width < 1 || height < 1 {
            throw KitError("The picture is \(width)x\(height) pixels large: there is nothing in it.")
        }
        if elementCount([width, height], most: mostPixels) == nil {
            throw KitError(
                "The picture is \(width)x\(height) pixels large; at most \(grouped(mostPixels)) "
                    + "pixels are decoded. Make it smaller.")
        }
    }

    /// Upright, by the EXIF orientation of its file; a number that is none of 1 to 8 turns nothing.
    public func upright(orientation: Int) -> Picture {
        if orientation < 2 || orientation > 8 { return self }
        let turned = orientation > 4
        let (w, h) = turned ? (height, width) : (width, height)
        let made = [UInt8](unsafeUninitializedCapacity: pixels.count) { buffer, count in
            for y in 0..<h {
                for x in 0..<w {
                    var (sx, sy) = turned ? (y, x) : (x, y)
                    if [2, 3, 7, 8].contains(orientation) { sx = width - 1 - sx }
                    if [3, 4, 6, 7].contains(orientation) { sy = height - 1 - sy }
                    for c in 0..<channels {
                        buffer[(y * w + x) * channels + c] = pixels[(sy * width + sx) * channels + c]
                    }
                }
            }
            count = pixels.count
        }
        return Picture(trusted: w, h, channels, made)
    }

    /// Luma of ITU-R 601, in Pillow's fixed point.
    public func grey() -> Picture {
        if channels == 1 { return self }
        let weights = [19595, 38470, 7471]
        let made = (0..<width * height).map { (i: Int) -> UInt8 in
            var sum = 0x8000
            for c in 0..<3 { sum += Int(pixels[3 * i + c]) * weights[c] }
            return UInt8(sum >> 16)
        }
        return Picture(trusted: width, height, 1, made)
    }

    /// In three channels.
    public func colours() -> Picture {
        if channels == 3 { return self }
        return Picture(trusted: width, height, 3, pixels.flatMap { [$0, $0, $0] })
    }

    /// Bytes with a fourth, opaque one, to make an image of.
    public func rgbx() -> [UInt8] {
        let three = colours().pixels
        var made = [UInt8](repeating: 255, count: width * height * 4)
        for i in 0..<width * height {
            for c in 0..<3 { made[4 * i + c] = three[3 * i + c] }
        }
        return made
    }
}
