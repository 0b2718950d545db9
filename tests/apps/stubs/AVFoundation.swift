@_exported import CoreVideo
@_exported import Foundation

public final class CMSampleBuffer {}
public func CMSampleBufferGetImageBuffer(_ buffer: CMSampleBuffer) -> CVPixelBuffer? { nil }
public struct AVMediaType: Sendable { public static let video = AVMediaType() }
public class AVCaptureInput { public init() {} }
public class AVCaptureOutput {
    public init() {}
    public func connection(with type: AVMediaType) -> AVCaptureConnection? { nil }
}
public enum AVCaptureVideoOrientation: Int { case portrait = 1, portraitUpsideDown, landscapeRight, landscapeLeft }
public class AVCaptureConnection {
    public var isVideoOrientationSupported: Bool { false }
    public var videoOrientation: AVCaptureVideoOrientation = .portrait
    public func isVideoRotationAngleSupported(_ angle: CGFloat) -> Bool { false }
    public var videoRotationAngle: CGFloat = 0
}
public class AVCaptureDevice {
    public struct DeviceType: Sendable { public static let builtInWideAngleCamera = DeviceType() }
    public enum Position: Int { case unspecified, back, front }
    public static func `default`(_ type: DeviceType, for media: AVMediaType?, position: Position) -> AVCaptureDevice? { nil }
    public static func requestAccess(for media: AVMediaType, completionHandler: @escaping @Sendable (Bool) -> Void) {}
}
public class AVCaptureDeviceInput: AVCaptureInput { public init(device: AVCaptureDevice) throws {} }
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: AnyObject {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}
public class AVCaptureVideoDataOutput: AVCaptureOutput {
    public override init() {}
    public var videoSettings: [String: Any]! = [:]
    public var alwaysDiscardsLateVideoFrames = true
    public func setSampleBufferDelegate(
        _ delegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) {}
}
public class AVCaptureSession: NSObject {
    public struct Preset: Sendable { public static let vga640x480 = Preset() }
    public var sessionPreset = Preset()
    public var outputs: [AVCaptureOutput] { [] }
    public func canAddInput(_ input: AVCaptureInput) -> Bool { true }
    public func canAddOutput(_ output: AVCaptureOutput) -> Bool { true }
    public func addInput(_ input: AVCaptureInput) {}
    public func addOutput(_ output: AVCaptureOutput) {}
    public func beginConfiguration() {}
    public func commitConfiguration() {}
    public func startRunning() {}
    public func stopRunning() {}
}
