import CoreGraphics
import CoreML
import Foundation
import MobileExportKit

/// The answer of one file on photos. `folder` holds the file and its manifest; load once, answer often, off
/// the main thread.
final class Answerer {
    private let manifest: Manifest
    private let model: MLModel

    init(folder: URL) async throws {
        let file = try ModelFile(folder.appendingPathComponent(@file@), engines: ["coreml"])
        try file.verify()
        manifest = file.manifest
        model = try MLModel(contentsOf: await MLModel.compileModel(at: file.url), configuration: MLModelConfiguration())
    }

    func answer(_ photo: CGImage) throws -> Answer {
        let prepared = try manifest.input.prepare(pixels(photo), rule: manifest.preprocessing)
        let array = try manifest.array(prepared)
        let input = MLMultiArray(MLShapedArray<Float>(scalars: array.values, shape: array.shape))
        let given = try MLDictionaryFeatureProvider(dictionary: [@input@: MLFeatureValue(multiArray: input)])
        let results = try model.prediction(from: given)
        var outputs: [String: Tensor] = [:]
        for name in [@outputs@] {
            guard let value = results.featureValue(for: name)?.multiArrayValue else { continue }
            let numbers = MLShapedArray<Float>(converting: value)
            outputs[name] = try Tensor(shape: numbers.shape, values: numbers.scalars)
        }
        return try manifest.answer(outputs, prepared)
    }

    /// The photo must be upright: `Picture.upright(orientation:)` turns by EXIF.
    private func pixels(_ photo: CGImage) throws -> Picture {
        try Picture.checkSize(photo.width, photo.height)
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: nil, width: photo.width, height: photo.height, bitsPerComponent: 8, bytesPerRow: 4 * photo.width,
                space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw KitError("There is not enough memory for the photo.") }
        context.draw(photo, in: CGRect(x: 0, y: 0, width: photo.width, height: photo.height))
        guard let bytes = context.data else { throw KitError("There is not enough memory for the photo.") }
        let raw = UnsafeRawBufferPointer(start: bytes, count: 4 * photo.width * photo.height)
        return try Picture(rgbx: raw, width: photo.width, height: photo.height, bytesPerRow: 4 * photo.width)
    }
}
