import Foundation

/// The manifest beside a file of mobile-export (docs/manifest.md), as far as an app needs it.
///
/// It travels with its file, so it is read as input: every field has a type and a limit, and what does
/// not fit is refused with the name of the field. Fields that are not known are left alone.
public struct Manifest: Decodable, Sendable {
    /// The newest schema that this kit reads.
    public static let newestSchema = 1
    public static let mostBytes = 64 << 20

    public let format: String
    public let file: String
    public let sha256: String
    public let bytes: Int
    public let companions: [FileFacts]
    public let precision: String
    public let source: String
    public let weights: String?
    public let input: ModelInput
    public let outputs: [ModelOutput]
    public let expected: Expected
    public let labels: [String]?
    public let task: String?
    public let interface: Interface?
    public let preprocessing: Preprocessing?
    public let nms: Nms?
    public let parity: Parity?
    public let tools: [String: String]

    /// Reads a manifest.
    ///
    /// - Parameter name: of the file, for the sentence.
    /// - Throws: `KitError`: it is too large, no JSON, of a newer schema, or a field is missing or not valid.
    public init(json: Data, name: String) throws {
        if json.count > Manifest.mostBytes {
            throw KitError("The manifest \(name) is larger than \(grouped(Manifest.mostBytes)) bytes.")
        }
        do {
            let schema = try JSONDecoder().decode(Version.self, from: json).schema
            if schema > Manifest.newestSchema {
                throw KitError(
                    "The manifest \(name) has schema \(schema); this app reads 1 to "
                        + "\(Manifest.newestSchema). Update the app, or export the model again.")
            }
            if schema < 1 {
                throw KitError("The manifest \(name) has schema \(schema); the least is 1.")
            }
            let others = try JSONDecoder().decode(OtherInputs.self, from: json).names
            if !others.isEmpty {
                throw KitError(
                    "The model of \(name) takes \(others.prefix(9).joined(separator: ", ")) beside the picture; this app "
                        + "gives one picture and nothing else.")
            }
            self = try JSONDecoder().decode(Manifest.self, from: json)
        } catch let error as DecodingError {
            throw KitError("The manifest \(name) \(explain(error)).")
        }
    }

    private struct OtherInputs: Decodable {
        struct Named: Decodable { let name: String }
        let other_inputs: [Named]?

        var names: [String] { (other_inputs ?? []).map { String($0.name.prefix(40)) } }
    }

    private enum CodingKeys: String, CodingKey {
        case format, file, sha256, bytes, companions, precision, source, weights, input, outputs
        case expected, labels, task, interface, preprocessing, nms, parity, tools
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        format = try fields.name(.format)
        file = try fields.fileName(.file)
        sha256 = try fields.sha256(.sha256)
        bytes = try fields.decodeIfPresent(Int.self, forKey: .bytes) ?? 0
        companions = try fields.list(.companions, most: 16) ?? []
        precision = try fields.optionalName(.precision) ?? "fp32"
        source = try fields.name(.source, longest: 4096)
        weights = try fields.decodeIfPresent(Weights.self, forKey: .weights)?.description
        input = try fields.decode(ModelInput.self, forKey: .input)
        outputs = try fields.require(.outputs, most: 256)
        expected = try fields.decode(Expected.self, forKey: .expected)
        labels = try fields.list(.labels, most: 1_000_000)
        task = try fields.optionalName(.task)
        interface = try fields.decodeIfPresent(Interface.self, forKey: .interface)
        preprocessing = try fields.decodeIfPresent(Preprocessing.self, forKey: .preprocessing)
        nms = try fields.decodeIfPresent(Nms.self, forKey: .nms)
        parity = try fields.decodeIfPresent(Parity.self, forKey: .parity)
        tools = try fields.decodeIfPresent([String: String].self, forKey: .tools) ?? [:]
        let given = outputs.map { ($0.name, $0.shape) }
        let wanted = expected.outputs.map { ($0.name, $0.shape) }
        if given.count != wanted.count || zip(given, wanted).contains(where: { $0 != $1 }) {
            throw fields.invalid(.expected, "its outputs are others than the field outputs has")
        }
    }

    private struct Version: Decodable { let schema: Int }
    private struct Weights: Decodable { let description: String? }

    /// Names of the classes of the answer: of a file that suppresses, those of its detections.
    public var classNames: [String]? { nms?.labels ?? labels }
}

/// A file that belongs to an artifact; it lies in the folder of the manifest.
public struct FileFacts: Decodable, Sendable {
    public let file: String
    public let sha256: String
    public let bytes: Int

    private enum CodingKeys: String, CodingKey { case file, sha256, bytes }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        file = try fields.fileName(.file)
        sha256 = try fields.sha256(.sha256)
        bytes = try fields.decodeIfPresent(Int.self, forKey: .bytes) ?? 0
    }
}

/// The input of the PyTorch model: (1, C, H, W), or (1, C, T, H, W) of a clip.
public struct ModelInput: Decodable, Sendable {
    public let name: String
    public let shape: [Int]
    /// `RGB`, `BGR` or `L`.
    public let channelOrder: String
    /// Per channel, of pixels scaled to [0, 1].
    public let mean: [Double]
    public let std: [Double]

    public init(
        name: String = "image", shape: [Int], channelOrder: String = "RGB", mean: [Double],
        std: [Double]
    ) {
        self.name = name
        self.shape = shape
        self.channelOrder = channelOrder
        self.mean = mean
        self.std = std
    }

    private enum CodingKeys: String, CodingKey {
        case name, shape, mean, std
        case channelOrder = "channel_order"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.optionalName(.name) ?? "image"
        shape = try fields.shape(.shape, mostElements: 1 << 28)
        if shape.count < 4 || shape.count > 5 || shape.contains(0) {
            throw fields.invalid(.shape, "an image has 4 extents, a clip 5, all above 0")
        }
        channelOrder = try fields.optionalName(.channelOrder) ?? "RGB"
        if !["RGB", "BGR", "L"].contains(channelOrder) {
            throw fields.invalid(.channelOrder, "valid are RGB, BGR and L")
        }
        let channels = shape[1]
        let means = try fields.numbers(.mean, most: 4096) ?? []
        let deviations = try fields.numbers(.std, most: 4096) ?? []
        mean = means.isEmpty ? Array(repeating: 0, count: channels) : means
        std = deviations.isEmpty ? Array(repeating: 1, count: channels) : deviations
        if mean.count != channels || std.count != channels {
            throw fields.invalid(.mean, "mean and std have one number for each of \(channels) channels")
        }
        if std.contains(where: { $0 <= 0 }) { throw fields.invalid(.std, "each is above 0") }
    }
}

/// An output of the PyTorch model.
public struct ModelOutput: Decodable, Sendable {
    public let name: String
    public let shape: [Int]

    private enum CodingKeys: String, CodingKey { case name, shape }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.name(.name)
        shape = try fields.shape(.shape, mostElements: 1 << 31)
    }
}

/// What the file itself takes and gives, in its order.
public struct Interface: Decodable, Sendable {
    public let inputs: [FileInput]
    public let outputs: [FileOutput]

    private enum CodingKeys: String, CodingKey { case inputs, outputs }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        inputs = try fields.require(.inputs, most: 16)
        outputs = try fields.require(.outputs, most: 256)
    }
}

/// From a pixel to what the network computes with: (pixel · scale − mean) / std, per channel.
public struct Normalization: Decodable, Sendable {
    /// The file does it, and takes pixels from 0 to 255.
    public let inside: Bool
    public let scale: Double
    public let mean: [Double]
    public let std: [Double]

    private enum CodingKeys: String, CodingKey { case inside, scale, mean, std }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        inside = try fields.decode(Bool.self, forKey: .inside)
        scale = try fields.decode(Double.self, forKey: .scale)
        mean = try fields.numbers(.mean, most: 4096) ?? []
        std = try fields.numbers(.std, most: 4096) ?? []
        if scale <= 0 || std.contains(where: { $0 <= 0 }) || mean.count != std.count {
            throw fields.invalid(.std, "scale and std are above 0, and there is a std for each mean")
        }
    }
}

/// An input of the file, as the format's runtime has it.
public struct FileInput: Decodable, Sendable {
    public let name: String
    /// In the file's own order of axes; nil stands for an extent that depends on the image.
    public let shape: [Int?]
    public let dtype: String
    /// A letter for each axis: `N`, `C`, `T`, `H`, `W`.
    public let layout: String?
    /// The runtime takes an image here, and no array.
    public let image: Bool
    public let channelOrder: String?
    public let normalization: Normalization?
    public let optional: Bool

    private enum CodingKeys: String, CodingKey {
        case name, shape, dtype, layout, image, normalization, optional
        case channelOrder = "channel_order"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.name(.name)
        shape = try fields.freeShape(.shape)
        dtype = try fields.name(.dtype)
        layout = try fields.layout(.layout, of: shape)
        image = try fields.decodeIfPresent(Bool.self, forKey: .image) ?? false
        channelOrder = try fields.optionalName(.channelOrder)
        normalization = try fields.decodeIfPresent(Normalization.self, forKey: .normalization)
        optional = try fields.decodeIfPresent(Bool.self, forKey: .optional) ?? false
    }
}

/// What the four numbers of a box are, in order.
public struct BoxFormat: Decodable, Sendable {
    public let order: [String]
    /// `pixels` of the input, or `image`, whose width and height are 1.
    public let unit: String

    private enum CodingKeys: String, CodingKey { case order, unit }
    private static let known = [
        "left", "top", "right", "bottom", "centre x", "centre y", "width", "height",
    ]

    public init(order: [String], unit: String) {
        self.order = order
        self.unit = unit
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        order = try fields.require(.order, most: 4)
        unit = try fields.name(.unit)
        if order.count != 4 || Set(order).count != 4 || order.contains(where: { !BoxFormat.known.contains($0) }) {
            throw fields.invalid(.order, "four different ones of \(BoxFormat.known.joined(separator: ", "))")
        }
        if !["pixels", "image"].contains(unit) {
            throw fields.invalid(.unit, "valid are pixels and image")
        }
    }
}

/// An output of the file, as the format's runtime has it.
public struct FileOutput: Decodable, Sendable {
    public let name: String
    public let shape: [Int?]
    public let dtype: String
    public let layout: String?
    /// What the numbers are, in the words of docs/manifest.md; nil where nobody said.
    public let meaning: String?
    public let box: BoxFormat?
    /// The model's output that it is; nil of what the file adds.
    public let source: String?

    private enum CodingKeys: String, CodingKey { case name, shape, dtype, layout, meaning, box, source }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        name = try fields.name(.name)
        shape = try fields.freeShape(.shape)
        dtype = try fields.name(.dtype)
        layout = try fields.layout(.layout, of: shape)
        meaning = try fields.optionalName(.meaning)
        box = try fields.decodeIfPresent(BoxFormat.self, forKey: .box)
        source = try fields.optionalName(.source)
    }
}

/// How the model's authors bring a picture to its size, in the words of timm's data configurations.
public struct Preprocessing: Decodable, Sendable {
    /// (height, width) before the crop.
    public let resize: [Int]
    public let cropMode: String
    public let interpolation: String
    public let source: String

    public init(resize: [Int], cropMode: String, interpolation: String, source: String = "") {
        self.resize = resize
        self.cropMode = cropMode
        self.interpolation = interpolation
        self.source = source
    }

    private enum CodingKeys: String, CodingKey {
        case resize, interpolation, source
        case cropMode = "crop_mode"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        resize = try fields.shape(.resize, mostElements: Picture.mostPixels)
        if resize.count != 2 || resize.contains(0) {
            throw fields.invalid(.resize, "height and width, both above 0")
        }
        cropMode = try fields.name(.cropMode)
        if !["center", "squash", "border"].contains(cropMode) {
            throw fields.invalid(.cropMode, "valid are center, squash and border")
        }
        interpolation = try fields.name(.interpolation)
        source = try fields.name(.source, longest: 65536)
    }
}

/// Non-maximum suppression inside the file.
public struct Nms: Decodable, Sendable {
    public let iouThreshold: Double
    public let scoreThreshold: Double
    public let labels: [String]

    private enum CodingKeys: String, CodingKey {
        case labels
        case iouThreshold = "iou_threshold"
        case scoreThreshold = "score_threshold"
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        iouThreshold = try fields.decode(Double.self, forKey: .iouThreshold)
        scoreThreshold = try fields.decode(Double.self, forKey: .scoreThreshold)
        labels = try fields.list(.labels, most: 1_000_000) ?? []
    }
}

/// The file against the original model, as the exporting machine found it.
public struct Parity: Codable, Sendable {
    public let verdict: String
    public let maxRel: Double?
    public let tolerance: Double?
    public let runtime: String?

    private enum CodingKeys: String, CodingKey {
        case verdict, tolerance, runtime
        case maxRel = "max_rel"
    }
}
