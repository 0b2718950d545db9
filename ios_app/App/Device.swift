import Foundation
import MobileExportKit
import UIKit

/// What iOS tells an app of its device.
enum Device {
    @MainActor
    static func facts() -> DeviceFacts {
        let process = ProcessInfo.processInfo
        let hot = process.thermalState == .serious || process.thermalState == .critical
        return DeviceFacts(
            id: "app:\(UIDevice.current.identifierForVendor?.uuidString ?? "unknown")", name: model(), arch: "arm64",
            os: "\(UIDevice.current.systemName) \(UIDevice.current.systemVersion)",
            memoryMB: Int(process.physicalMemory >> 20), throttled: hot)
    }

    /// The record of a benchmark, to be sent to a machine with `mobile-bench import`.
    @MainActor
    static func save(_ timings: [Timing]) throws -> URL {
        let facts = facts()
        let text = try BenchmarkRecord.lines(
            timings, device: facts, runtime: "Core ML of \(facts.os)", run: UUID().uuidString)
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("benchmark.jsonl")
        try Data(text.utf8).write(to: file, options: .atomic)
        return file
    }

    /// Such as `iPhone15,2`.
    private static func model() -> String {
        var system = utsname()
        uname(&system)
        return withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
