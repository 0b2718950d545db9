@_exported import CoreVideo
@_exported import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }
public class MLModelConfiguration {
    public init() {}
    public var computeUnits: MLComputeUnits = .all
}
public enum MLMultiArrayDataType: Int { case double, float32, float16, int32 }
public protocol MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}
public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
    public init(scalars: some Sequence<Scalar>, shape: [Int]) {}
    public init(converting: MLMultiArray) {}
    public var scalars: [Scalar] { [] }
    public var shape: [Int] { [] }
}
public class MLMultiArray {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    public convenience init<Scalar>(_ shapedArray: MLShapedArray<Scalar>) { try! self.init(shape: [], dataType: .float32) }
    public var count: Int { 0 }
    public var shape: [NSNumber] { [] }
    public var dataType: MLMultiArrayDataType { .float32 }
    public subscript(i: Int) -> NSNumber {
        get { 0 }
        set {}
    }
}
public enum MLFeatureType: Int { case invalid, int64, double, string, image, multiArray, dictionary }
public class MLFeatureValue {
    public struct ImageOption: Hashable, Sendable {}
    public init(multiArray: MLMultiArray) {}
    public init(
        cgImage: CGImage, pixelsWide: Int, pixelsHigh: Int, pixelFormatType: UInt32, options: [ImageOption: Any]?
    ) throws {}
    public var type: MLFeatureType { .invalid }
    public var multiArrayValue: MLMultiArray? { nil }
    public var dictionaryValue: [AnyHashable: NSNumber] { [:] }
    public var stringValue: String { "" }
}
public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}
public class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    public var featureNames: Set<String> { [] }
    public func featureValue(for featureName: String) -> MLFeatureValue? { nil }
}
public class MLMultiArrayConstraint { public var dataType: MLMultiArrayDataType { .float32 } }
public class MLFeatureDescription { public var multiArrayConstraint: MLMultiArrayConstraint? { nil } }
public class MLModelDescription { public var inputDescriptionsByName: [String: MLFeatureDescription] { [:] } }
public class MLModel {
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
    public static func compileModel(at url: URL) async throws -> URL { url }
    public var modelDescription: MLModelDescription { MLModelDescription() }
    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { input }
}
public struct MLCPUComputeDevice: Sendable {}
public struct MLGPUComputeDevice: Sendable {}
public struct MLNeuralEngineComputeDevice: Sendable {}
public enum MLComputeDevice: Sendable {
    case cpu(MLCPUComputeDevice)
    case gpu(MLGPUComputeDevice)
    case neuralEngine(MLNeuralEngineComputeDevice)
}
public enum MLModelStructure: Sendable {
    public struct Program: Sendable {
        public struct Operation: Sendable { public var operatorName: String { "" } }
        public struct Block: Sendable { public var operations: [Operation] { [] } }
        public struct Function: Sendable { public var block: Block { Block() } }
        public var functions: [String: Function] { [:] }
    }
    case neuralNetwork
    case program(Program)
    case pipeline
    case unsupported
}
public class MLComputePlan {
    public struct DeviceUsage { public var preferred: MLComputeDevice { fatalError() } }
    public struct Cost { public var weight: Double { 0 } }
    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan {
        fatalError()
    }
    public var modelStructure: MLModelStructure { .unsupported }
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    public func estimatedCost(of operation: MLModelStructure.Program.Operation) -> Cost? { nil }
}
