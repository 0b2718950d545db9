@_exported import Foundation

public struct UTType: Sendable {
    public static let item = UTType()
    public static let package = UTType()
}
