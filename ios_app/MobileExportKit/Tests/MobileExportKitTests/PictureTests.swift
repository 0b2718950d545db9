import XCTest

@testable import MobileExportKit

/// Photos that apps get and developers forget.
final class PictureTests: XCTestCase {
    private let input = ModelInput(shape: [1, 3, 8, 8], mean: [0, 0, 0], std: [1, 1, 1])

    func testAPhotoOfOnePixel() throws {
        let photo = try Picture(width: 1, height: 1, pixels: [10, 20, 30])
        for mode in ["center", "squash", "border"] {
            let rule = Preprocessing(resize: [9, 9], cropMode: mode, interpolation: "bicubic")
            let got = try input.prepare(photo, rule: rule)
            XCTAssertEqual(Array(got.input.pixels.suffix(3)), [10, 20, 30], mode)
        }
    }

    func testAPhotoOf108Megapixels() throws {
        refused("12000x9000 pixels large; at most 67,108,864") { try Picture.checkSize(12000, 9000) }
        let header = jpeg(width: 12000, height: 9000, components: 3)
        refused("12000x9000") { _ = try PictureFile(Data(header), name: "huge.jpg") }
        refused("4294967295x1") { _ = try PictureFile(png(0xffff_ffff, 1), name: "huge.png") }
        refused("0x4") { _ = try PictureFile(png(0, 4), name: "empty.png") }
    }

    func testAVeryLongPhoto() throws {
        let photo = try Picture(width: 100_000, height: 1, pixels: [UInt8](repeating: 9, count: 300_000))
        let rule = Preprocessing(resize: [224, 224], cropMode: "center", interpolation: "bilinear")
        refused("one side is far longer") { _ = try input.prepare(photo, rule: rule) }
    }

    func testGreyAndCMYK() throws {
        for (components, wanted) in [(1, 1), (3, 3), (4, 4)] {
            let bytes = jpeg(width: 5, height: 4, components: components)
            let file = try PictureFile(Data(bytes), name: "a.jpg")
            XCTAssertEqual(file.components, wanted)
            XCTAssertEqual([file.width, file.height], [5, 4])
        }
        let grey = try Picture(width: 2, height: 1, channels: 1, pixels: [7, 200])
        XCTAssertEqual(grey.colours().pixels, [7, 7, 7, 200, 200, 200])
        let got = try input.prepare(grey, rule: nil)
        XCTAssertEqual(got.input.channels, 3)
        refused("cannot have 8 bytes") {
            _ = try Picture(width: 2, height: 1, channels: 4, pixels: [UInt8](repeating: 0, count: 8))
        }
    }

    func testAPortraitPhoto() throws {
        for big in [true, false] {
            let bytes = jpeg(width: 40, height: 30, components: 3, orientation: 6, big: big)
            XCTAssertEqual(try PictureFile(Data(bytes), name: "a.jpg").orientation, 6)
        }
        let turned = try Picture(width: 2, height: 1, pixels: [1, 1, 1, 2, 2, 2]).upright(orientation: 6)
        XCTAssertEqual([turned.width, turned.height], [1, 2])
    }

    func testHEICWithoutADecoder() throws {
        let bytes = [UInt8]("\0\0\0\u{18}ftypheic\0\0\0\0".utf8)
        let file = try PictureFile(Data(bytes), name: "IMG_1.HEIC")
        XCTAssertEqual(file.kind, .heic)
        XCTAssertEqual(
            file.undecodable(name: "IMG_1.HEIC").sentence,
            "IMG_1.HEIC is a HEIC file, which this device could not decode. Save it as JPEG or PNG.")
    }

    func testWhatIsNoPicture() throws {
        refused("is empty") { _ = try PictureFile(Data(), name: "a.jpg") }
        refused("no picture that is known") { _ = try PictureFile(Data("%PDF-1.4 and so on".utf8), name: "a.jpg") }
        let whole = jpeg(width: 5, height: 4, components: 3, orientation: 6, big: true)
        for count in 3..<whole.count {  // a torn file has no crash in it
            XCTAssertEqual(try PictureFile(Data(whole.prefix(count)), name: "a.jpg").kind, .jpeg)
        }
        var noise = whole
        for k in 3..<noise.count {
            noise[k] = UInt8(truncatingIfNeeded: k &* 151)
            _ = try? PictureFile(Data(noise), name: "a.jpg")
        }
    }

    func testABitmapOfFourBytes() throws {
        let bytes: [UInt8] = [1, 2, 3, 255, 4, 5, 6, 255, 0, 0, 0, 0, 7, 8, 9, 255, 1, 1, 1, 255]
        try bytes.withUnsafeBytes { raw in
            let picture = try Picture(rgbx: raw, width: 2, height: 2, bytesPerRow: 12)
            XCTAssertEqual(picture.pixels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 1, 1])
            XCTAssertEqual(Array(picture.rgbx().prefix(4)), [1, 2, 3, 255])
            let blue = try Picture(rgbx: raw, width: 2, height: 2, bytesPerRow: 12, blueFirst: true)
            XCTAssertEqual(Array(blue.pixels.prefix(3)), [3, 2, 1])
            refused("is incomplete") { _ = try Picture(rgbx: raw, width: 2, height: 3, bytesPerRow: 12) }
        }
    }

    func testModelsThatTakeNoPicture() throws {
        let photo = try Picture(width: 1, height: 1, pixels: [1, 2, 3])
        let clip = ModelInput(shape: [1, 3, 4, 8, 8], mean: [0, 0, 0], std: [1, 1, 1])
        refused("takes clips") { _ = try clip.prepare(photo, rule: nil) }
        let twelve = ModelInput(
            shape: [1, 12, 8, 8], mean: [Double](repeating: 0, count: 12), std: [Double](repeating: 1, count: 12))
        refused("takes 12 channels") { _ = try twelve.prepare(photo, rule: nil) }
    }

    private func png(_ width: UInt32, _ height: UInt32) -> Data {
        var bytes: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13]
        bytes.append(contentsOf: "IHDR".utf8)
        for value in [width, height] {
            for shift: UInt32 in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
        }
        return Data(bytes)
    }

    /// The header of a JPEG file, with an EXIF orientation where one is given.
    private func jpeg(width: Int, height: Int, components: Int, orientation: Int? = nil, big: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = [0xff, 0xd8]
        func add(_ value: Int, big: Bool = true) {
            let pair = [UInt8(value >> 8), UInt8(value & 255)]
            bytes.append(contentsOf: big ? pair : pair.reversed())
        }
        if let orientation {
            bytes.append(contentsOf: [0xff, 0xe1])
            add(2 + 6 + 8 + 2 + 12)
            bytes.append(contentsOf: "Exif".utf8)
            add(0)
            bytes.append(contentsOf: (big ? "MM" : "II").utf8)
            add(42, big: big)
            bytes.append(contentsOf: big ? [0, 0, 0, 8] : [8, 0, 0, 0])
            for value in [1, 0x112, 3] { add(value, big: big) }
            bytes.append(contentsOf: big ? [0, 0, 0, 1] : [1, 0, 0, 0])
            add(orientation, big: big)
            add(0)
        }
        bytes.append(contentsOf: [0xff, 0xc0])
        add(8 + 3 * components)
        bytes.append(8)
        add(height)
        add(width)
        bytes.append(UInt8(components))
        bytes.append(contentsOf: [UInt8](repeating: 0, count: 3 * components))
        return bytes
    }
}
