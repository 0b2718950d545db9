import CoreML
import Foundation
import MobileExportKit

/// A file of mobile-export, loaded by Core ML. Names, shapes and types come from its manifest.
final class CoreMLModel {
    static let format = "coreml"

    let file: ModelFile
    let loadNanoseconds: UInt64
    private let model: MLModel
    private let compiled: URL
    private let configuration: MLModelConfiguration

    var manifest: Manifest { file.manifest }

    /// Compares the file with its manifest, compiles and loads it.
    ///
    /// - Throws: `KitError`: it is not the manifest's file, or Core ML does not take it.
    static func load(_ file: ModelFile, units: MLComputeUnits) async throws -> CoreMLModel {
        try file.verify()
        let start = DispatchTime.now().uptimeNanoseconds
        do {
            let compiled = try await MLModel.compileModel(at: file.url)
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            let model = try MLModel(contentsOf: compiled, configuration: configuration)
            let spent = DispatchTime.now().uptimeNanoseconds - start
            return CoreMLModel(file, model, compiled, configuration, spent)
        } catch {
            throw KitError("Core ML cannot load \(file.title): \(error.localizedDescription)")
        }
    }

    private init(
        _ file: ModelFile, _ model: MLModel, _ compiled: URL, _ configuration: MLModelConfiguration, _ spent: UInt64
    ) {
        self.file = file
        self.model = model
        self.compiled = compiled
        self.configuration = configuration
        loadNanoseconds = spent
    }

    deinit {
        try? FileManager.default.removeItem(at: compiled)
    }

    /// The answer on an upright picture.
    func answer(_ picture: Picture) throws -> (answer: Answer, prepared: Prepared) {
        let prepared = try manifest.input.prepare(picture, rule: manifest.preprocessing)
        let outputs = try run(try input(prepared))
        return (try manifest.answer(outputs, prepared), prepared)
    }

    /// The manifest's own input through the file; the outputs against those that it expects.
    func check() throws -> CheckResult {
        let sample = try manifest.expectedInput()
        let precision = configuration.computeUnits == .cpuOnly ? manifest.precision : "fp16"
        return try manifest.check(try run(try input(sample)), precision: precision)
    }

    /// What `run` takes, made once where a run is timed.
    func input(_ prepared: Prepared) throws -> any MLFeatureProvider {
        let wanted = try row()
        if wanted.image { return try provider(wanted.name, image: prepared.input) }
        return try provider(wanted.name, array: try manifest.array(prepared))
    }

    func input(_ sample: Tensor) throws -> any MLFeatureProvider {
        let wanted = try row()
        if wanted.image { return try provider(wanted.name, image: try manifest.pixels(sample)) }
        return try provider(wanted.name, array: sample)
    }

    func run(_ input: any MLFeatureProvider) throws -> [String: Tensor] {
        let features: any MLFeatureProvider
        do {
            features = try model.prediction(from: input)
        } catch {
            throw KitError("Core ML could not run \(file.title): \(error.localizedDescription)")
        }
        var outputs: [String: Tensor] = [:]
        for name in features.featureNames {
            guard let value = features.featureValue(for: name) else { continue }
            if let array = value.multiArrayValue {
                let shape = array.shape.map(\.intValue)
                outputs[name] = try Tensor(shape: shape, values: MLShapedArray<Float>(converting: array).scalars)
            } else if value.type == .dictionary {
                outputs[name] = try probabilities(value.dictionaryValue)
            }
        }
        return outputs
    }

    private func row() throws -> FileInput {
        guard let wanted = manifest.picture else {
            throw KitError("The manifest of \(file.title) does not say what the file takes. Export the model again.")
        }
        return wanted
    }

    private func provider(_ name: String, array tensor: Tensor) throws -> any MLFeatureProvider {
        let type = model.modelDescription.inputDescriptionsByName[name]?.multiArrayConstraint?.dataType ?? .float32
        let array: MLMultiArray
        if type == .float32 {
            array = MLMultiArray(MLShapedArray<Float>(scalars: tensor.values, shape: tensor.shape))
        } else {
            array = try MLMultiArray(shape: tensor.shape.map { NSNumber(value: $0) }, dataType: type)
            for (k, value) in tensor.values.enumerated() { array[k] = NSNumber(value: value) }
        }
        return try MLDictionaryFeatureProvider(dictionary: [name: MLFeatureValue(multiArray: array)])
    }

    private func provider(_ name: String, image picture: Picture) throws -> any MLFeatureProvider {
        let format = picture.channels == 1 ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
        let value = try MLFeatureValue(
            cgImage: try picture.cgImage(), pixelsWide: picture.width, pixelsHigh: picture.height,
            pixelFormatType: format, options: nil)
        return try MLDictionaryFeatureProvider(dictionary: [name: value])
    }

    /// Of a classifier of Core ML, which gives a probability for each name, in the order of the classes.
    private func probabilities(_ named: [AnyHashable: NSNumber]) throws -> Tensor {
        let names = manifest.classNames ?? []
        let values = names.map { named[AnyHashable($0)]?.floatValue ?? 0 }
        return try Tensor(shape: [1, values.count], values: values)
    }
}

extension CoreMLModel {
    /// Where the operations run, by their estimated cost, in a sentence.
    func placement() async -> String {
        guard #available(iOS 17.4, *) else { return "Where it ran is told by iOS 17.4 and later." }
        do {
            let plan = try await MLComputePlan.load(contentsOf: compiled, configuration: configuration)
            guard case .program(let program) = plan.modelStructure, let main = program.functions["main"] else {
                return "Core ML does not say where this kind of model runs."
            }
            var shares: [String: Double] = [:]
            for operation in main.block.operations {
                guard let usage = plan.deviceUsage(for: operation) else { continue }
                shares[name(usage.preferred), default: 0] += plan.estimatedCost(of: operation)?.weight ?? 0
            }
            let total = shares.values.reduce(0, +)
            if total <= 0 { return "Core ML gives no costs for this model." }
            let parts = shares.sorted { $0.value > $1.value }
                .map { "\($0.key) \(Int((100 * $0.value / total).rounded())) %" }
            return "Core ML prefers, by estimated cost: " + parts.joined(separator: ", ")
        } catch {
            return "Core ML does not say where it runs: \(error.localizedDescription)"
        }
    }

    @available(iOS 17.4, *)
    private func name(_ device: MLComputeDevice) -> String {
        switch device {
        case .cpu: "CPU"
        case .gpu: "GPU"
        case .neuralEngine: "Neural Engine"
        @unknown default: "other"
        }
    }
}

/// Where Core ML may run a model, in the words of the record.
enum Units: String, CaseIterable, Identifiable {
    case all
    case cpu
    case gpu = "cpu,gpu"
    case neuralEngine = "cpu,ane"

    var id: String { rawValue }

    var value: MLComputeUnits {
        switch self {
        case .all: .all
        case .cpu: .cpuOnly
        case .gpu: .cpuAndGPU
        case .neuralEngine: .cpuAndNeuralEngine
        }
    }
}
