@_exported import Foundation
import SwiftUI

public struct PHPickerFilter: Sendable { public static let images = PHPickerFilter() }
public struct PhotosPickerItem: Equatable, Sendable {
    public func loadTransferable<T: Transferable>(type: T.Type) async throws -> T? { nil }
}
public struct PhotosPicker: Prim {
    nonisolated public init(_ title: String, selection: Binding<PhotosPickerItem?>, matching: PHPickerFilter? = nil) {}
}
