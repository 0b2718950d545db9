import Foundation

/// The entry `expected` of a manifest: what the file must compute, wherever it runs.
public struct Expected: Decodable, Sendable {
    /// Of an output with more elements, this many that lie all over it are kept.
    public static let mostValues = 4096

    public let sample: String
    public let inputSha256: String
    /// Largest error allowed for each precision of the arithmetic, relative to the output's `scale`.
    public let tolerance: [String: Double]
    public let outputs: [ExpectedOutput]

    private enum CodingKeys: String, CodingKey {
        case sample, tolerance, outputs
        case inputSha256 = "input_sha256"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        sample = try fields.name(.sample)
        inputSha256 = try fields.sha256(.inputSha256)
        tolerance = try fields.decode([String: Double].self, forKey: .tolerance)
        outputs = try fields.list(.outputs, most: 256) ?? []
        if tolerance.values.contains(where: { !($0 > 0 && $0 <= 0.1) }) {
            throw fields.invalid(.tolerance, "each is above 0 and at most 0.1")
        }
    }

    /// Which element of a flattened output the k-th kept one is.
    public static func kept(_ k: Int, of count: Int) -> Int {
        count <= mostValues ? k : k * 2_654_435_761 % count
    }
}

public struct ExpectedOutput: Decodable, Sendable {
    public let name: String
    public let shape: [Int]
    /// It holds labels or indices, which are equal or not.
    public let integer: Bool
    /// Largest finite magnitude.
    public let scale: Double
    public let values: [Float]

    public init(name: String, shape: [Int], integer: Bool, scale: Double, values: [Float]) {
        self.name = name
        self.shape = shape
        self.integer = integer
        self.scale = scale
        self.values = values
    }

    private enum CodingKeys: String, CodingKey { case name, shape, integer, scale, values }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.name(.name)
        shape = try fields.shape(.shape, mostElements: 1 << 31)
        integer = try fields.decode(Bool.self, forKey: .integer)
        scale = try fields.decode(Double.self, forKey: .scale)
        let data = try fields.decode(Data.self, forKey: .values)
        let count = min(elementCount(shape, most: 1 << 31) ?? 0, Expected.mostValues)
        if data.count != 4 * count {
            throw fields.invalid(.values, "\(data.count) bytes; \(count) numbers of 4 bytes belong to the shape")
        }
        values = Array(littleEndian: [UInt8](data))
        let finite = values.filter(\.isFinite).map { Double(abs($0)) }
        if !(scale >= 0 && scale <= 1e300) || scale < (finite.max() ?? 0) * (1 - 1e-6) {
            throw fields.invalid(.scale, "\(scale) is less than the largest of the values")
        }
    }

    /// Largest error relative to `scale`; of integers, the share that differs. What has another shape, or is
    /// NaN, is infinitely far.
    public func error(of got: Tensor) -> Double {
        if got.shape != shape { return .infinity }
        var (largest, differing) = (0.0, 0)
        for (k, wanted) in values.enumerated() {
            let value = got.values[Expected.kept(k, of: got.values.count)]
            if value == wanted { continue }
            differing += 1
            let error = abs(Double(value) - Double(wanted))
            largest = max(largest, error.isNaN ? .infinity : error)
        }
        if integer { return values.isEmpty ? 0 : Double(differing) / Double(values.count) }
        return largest == 0 ? 0 : scale > 0 ? largest / scale : .infinity
    }
}

extension Array where Element == Float {
    /// Of bytes, four for each.
    init(littleEndian bytes: [UInt8]) {
        self = stride(from: 0, to: bytes.count - 3, by: 4).map { (at: Int) -> Float in
            var bits: UInt32 = 0
            for k in 0..<4 { bits |= UInt32(bytes[at + k]) << UInt32(8 * k) }
            return Float(bitPattern: bits)
        }
    }

    var littleEndian: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * count)
        for value in self {
            let bits = value.bitPattern
            for shift: UInt32 in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: bits >> shift)) }
        }
        return bytes
    }
}

/// How far a file's outputs are from those that its manifest expects.
public struct CheckResult: Equatable, Sendable {
    /// Relative to the largest magnitude of that output; infinite where it cannot be told.
    public let error: Double
    public let tolerance: Double
    /// Number of values.
    public let compared: Int
    /// The output with the largest error.
    public let output: String

    public init(error: Double, tolerance: Double, compared: Int, output: String) {
        self.error = error
        self.tolerance = tolerance
        self.compared = compared
        self.output = output
    }

    public var passed: Bool { error <= tolerance }

    public var sentence: String {
        "\(passed ? "Passed" : "FAILED"): the largest error is \(short(error)) of the size of \(output) "
            + "(\(grouped(compared)) numbers); \(short(tolerance)) is allowed."
    }
}

/// Two digits, the same in every country.
func short(_ number: Double) -> String {
    if !number.isFinite { return "infinite" }
    return String(format: "%.2g", locale: Locale(identifier: "en_US_POSIX"), number)
}

extension Manifest {
    /// The input that the expected outputs belong to, as the file takes it.
    ///
    /// - Throws: `KitError`: it cannot be made again to the last bit, or the file ends with detections.
    public func expectedInput() throws -> Tensor {
        if nms != nil {
            throw KitError(
                "\(file) ends with detections; its manifest expects the boxes and scores in front of them, "
                    + "which it does not give. Check the same model written without --nms.")
        }
        let values = try Noise.values(expected.sample, count: elementCount(input.shape, most: 1 << 28) ?? 0)
        var digest = SHA256()
        for start in stride(from: 0, to: values.count, by: 1 << 16) {
            let part = values[start..<min(start + 1 << 16, values.count)]
            digest.update(Array(part).littleEndian)
        }
        guard digest.finish() == expected.inputSha256 else {
            throw KitError(
                "The sample input of the manifest could not be made again here to the last bit, so nothing "
                    + "can be compared.")
        }
        return try arranged(Tensor(trusted: input.shape, values))
    }

    /// The expected input as a picture, for a file that takes an image and no array.
    ///
    /// - Throws: `KitError`: its numbers are no pixels.
    public func pixels(_ sample: Tensor) throws -> Picture {
        let layout = picture?.layout ?? "NCHW"
        let straight = sample.arranged(from: layout, to: "NHWC").values
        guard straight.allSatisfy({ $0 >= 0 && $0 <= 255 && $0 == $0.rounded() }) else {
            throw KitError("\(file) takes an image, and the expected input of its manifest is none.")
        }
        let reversed = picture?.channelOrder == "BGR" && input.channels == 3
        let pixels = straight.indices.map { (i: Int) -> UInt8 in
            UInt8(straight[reversed ? i - i % 3 + 2 - i % 3 : i])
        }
        return try Picture(width: input.width, height: input.height, channels: input.channels, pixels: pixels)
    }

    /// The largest error of all outputs.
    ///
    /// - Parameters:
    ///   - outputs: by their names in the file.
    ///   - precision: of the arithmetic, `fp32` or `fp16`.
    /// - Throws: `KitError`: the manifest allows no error for this precision.
    public func check(_ outputs: [String: Tensor], precision: String) throws -> CheckResult {
        let name = [precision, self.precision].contains("fp16") ? "fp16" : "fp32"
        guard let tolerance = expected.tolerance[name] else {
            throw KitError("The manifest of \(file) allows no error for \(name), so nothing can be compared.")
        }
        let results = inModelOrder(outputs)
        var (worst, largest) = (expected.outputs.first?.name ?? "", -1.0)
        for wanted in expected.outputs {
            let error = results[wanted.name].map { wanted.error(of: $0) } ?? .infinity
            if error > largest { (worst, largest) = (wanted.name, error) }
        }
        return CheckResult(
            error: largest < 0 ? .infinity : largest, tolerance: tolerance,
            compared: expected.outputs.reduce(0) { $0 + $1.values.count }, output: worst)
    }

    /// The model's outputs by their names in the model, in its order of axes.
    public func inModelOrder(_ outputs: [String: Tensor]) -> [String: Tensor] {
        var found: [String: Tensor] = [:]
        for output in self.outputs {
            let row = interface?.outputs.first { $0.source == output.name }
            guard let tensor = outputs[row?.name ?? output.name] else { continue }
            let letters = row?.layout ?? ""
            let straight = tensor.arranged(from: letters, to: "NCTHW".filter { letters.contains($0) })
            // A batch of one may be missing in the file, as in ncnn's.
            let same = straight.shape.filter { $0 != 1 } == output.shape.filter { $0 != 1 }
            found[output.name] = same ? Tensor(trusted: output.shape, straight.values) : straight
        }
        return found
    }
}
