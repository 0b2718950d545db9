import Foundation

/// What the first bytes of a picture's file say, read before anything is decoded.
public struct PictureFile: Equatable, Sendable {
    public enum Kind: String, Sendable {
        case jpeg = "JPEG"
        case png = "PNG"
        case heic = "HEIC"
        case avif = "AVIF"
        case gif = "GIF"
        case webp = "WebP"
        case tiff = "TIFF"
    }

    public let kind: Kind
    /// Before it is turned upright; nil where the header of this kind is not read here.
    public let width: Int?
    public let height: Int?
    /// Of a JPEG file: 1 is grey, 3 colour, 4 CMYK.
    public let components: Int?
    /// EXIF's, 1 to 8.
    public let orientation: Int

    /// - Throws: `KitError`: it is no picture of a known kind, or is too large to be decoded.
    public init(_ data: Data, name: String) throws {
        let bytes = [UInt8](data.prefix(1 << 20))
        guard let found = PictureFile.read(bytes) else {
            throw KitError(
                data.isEmpty
                    ? "\(name) is empty." : "\(name) is no picture that is known here. Valid are JPEG, PNG and HEIC.")
        }
        self = found
        if let width, let height { try Picture.checkSize(width, height) }
    }

    /// What the app says where the device's decoder gave nothing.
    public func undecodable(name: String) -> KitError {
        if kind == .jpeg || kind == .png {
            return KitError("\(name) is a damaged \(kind.rawValue) file: it could not be decoded.")
        }
        return KitError(
            "\(name) is a \(kind.rawValue) file, which this device could not decode. Save it as JPEG or PNG.")
    }

    private init(
        _ kind: Kind, width: Int? = nil, height: Int? = nil, components: Int? = nil, orientation: Int = 1
    ) {
        self.kind = kind
        self.width = width
        self.height = height
        self.components = components
        self.orientation = orientation
    }

    private static func read(_ bytes: [UInt8]) -> PictureFile? {
        let text = { (range: Range<Int>) -> String in
            bytes.count >= range.upperBound ? String(decoding: bytes[range], as: UTF8.self) : ""
        }
        if bytes.starts(with: [0xff, 0xd8, 0xff]) { return jpeg(bytes) }
        if bytes.starts(with: [0x89, 0x50, 0x4e, 0x47]), text(12..<16) == "IHDR", bytes.count >= 24 {
            let header = Endian(bytes, big: true)
            return PictureFile(.png, width: header.long(16), height: header.long(20))
        }
        if text(4..<8) == "ftyp" {
            let brand = text(8..<12)
            if ["heic", "heix", "hevc", "heim", "heis", "mif1", "msf1"].contains(brand) { return PictureFile(.heic) }
            if ["avif", "avis"].contains(brand) { return PictureFile(.avif) }
        }
        if text(0..<4) == "GIF8" { return PictureFile(.gif) }
        if text(0..<4) == "RIFF", text(8..<12) == "WEBP" { return PictureFile(.webp) }
        if bytes.starts(with: [0x49, 0x49, 0x2a, 0]) || bytes.starts(with: [0x4d, 0x4d, 0, 0x2a]) {
            return PictureFile(.tiff)
        }
        return nil
    }

    /// Markers up to the frame header (ITU-T T.81, B.2.2).
    private static func jpeg(_ bytes: [UInt8]) -> PictureFile {
        let header = Endian(bytes, big: true)
        var orientation = 1
        var place = 2
        while place + 4 <= bytes.count, bytes[place] == 0xff {
            let marker = bytes[place + 1]
            if marker == 0xff {  // fill bytes
                place += 1
                continue
            }
            guard let length = header.short(place + 2), length >= 2 else { break }
            let frame = (0xc0...0xcf).contains(marker) && ![0xc4, 0xc8, 0xcc].contains(marker)
            if frame, place + 10 <= bytes.count {
                return PictureFile(
                    .jpeg, width: header.short(place + 7), height: header.short(place + 5),
                    components: Int(bytes[place + 9]), orientation: orientation)
            }
            if marker == 0xe1, let found = exif(bytes, from: place + 4, to: place + 2 + length) {
                orientation = found
            }
            place += 2 + length
        }
        return PictureFile(.jpeg, orientation: orientation)
    }

    /// The tag 0x0112 of the first directory (EXIF 2.3, 4.6.4).
    private static func exif(_ bytes: [UInt8], from: Int, to: Int) -> Int? {
        guard to <= bytes.count, to - from > 14, bytes[from..<from + 4].elementsEqual("Exif".utf8) else { return nil }
        let tiff = Array(bytes[(from + 6)..<to])
        let numbers = Endian(tiff, big: tiff[0] == 0x4d)
        guard let start = numbers.long(4), let count = numbers.short(start) else { return nil }
        for entry in 0..<count {
            let place = start + 2 + 12 * entry
            guard let tag = numbers.short(place) else { return nil }
            if tag == 0x0112, let value = numbers.short(place + 8), (1...8).contains(value) { return value }
        }
        return nil
    }
}

/// Unsigned numbers in bytes; nil beyond their end.
private struct Endian {
    let bytes: [UInt8]
    let big: Bool

    init(_ bytes: [UInt8], big: Bool) {
        self.bytes = bytes
        self.big = big
    }

    func short(_ place: Int) -> Int? { number(place, 2) }
    func long(_ place: Int) -> Int? { number(place, 4) }

    private func number(_ place: Int, _ count: Int) -> Int? {
        guard place >= 0, place <= bytes.count - count else { return nil }
        let digits = bytes[place..<place + count]
        return (big ? Array(digits) : digits.reversed()).reduce(0) { $0 << 8 | Int($1) }
    }
}
