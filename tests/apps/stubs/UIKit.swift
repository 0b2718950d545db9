@_exported import CoreGraphics

@MainActor public class UIDevice {
    public static let current = UIDevice()
    public var identifierForVendor: UUID? { nil }
    public var systemName: String { "" }
    public var systemVersion: String { "" }
}
public class UIImage {
    public init?(data: Data) { nil }
    public var cgImage: CGImage? { nil }
}
extension ProcessInfo {
    public enum ThermalState: Int { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { .nominal }
}
