import XCTest

@testable import MobileExportKit

final class BenchmarkTests: XCTestCase {
    /// A clock that the runs move, so that the figures are known.
    private final class Clock {
        var now: UInt64 = 1000
        var order: [String] = []
    }

    private func entry(_ name: String, _ clock: Clock, _ nanoseconds: UInt64, failAt: Int = .max) throws
        -> BenchmarkEntry
    {
        let check = CheckResult(error: 0.001, tolerance: 0.01, compared: 3, output: "logits")
        return BenchmarkEntry(
            manifest: try manifest(), backend: name, loadNanoseconds: 5, check: failAt == .max ? check : nil
        ) {
            clock.order.append(name)
            if clock.order.count >= failAt { throw KitError("It broke.") }
            clock.now += nanoseconds
        }
    }

    func testTurnsAndRecord() throws {
        let clock = Clock()
        let benchmark = Benchmark { clock.now }
        let timings = benchmark.measure([try entry("cpu", clock, 2_000_000), try entry("all", clock, 1_000_000)])
        XCTAssertEqual(timings.map(\.warmUp), [15, 15])
        XCTAssertEqual(timings[0].samples, [UInt64](repeating: 2_000_000, count: 60))
        let turns = clock.order.dropFirst(30)
        XCTAssertEqual(
            Array(turns.prefix(20)), [String](repeating: "cpu", count: 10) + [String](repeating: "all", count: 10))
        XCTAssertEqual(timings[1].sentence, "m.mlpackage (all): median 1.00 ms, 10 % to 90 % 1.00 to 1.00 ms, 60 runs")
        try save(timings)
    }

    func testAFailureEndsItsOwnEntryOnly() throws {
        let clock = Clock()
        var benchmark = Benchmark { clock.now }
        benchmark.runs = 3
        benchmark.turns = 2
        let other = Clock()
        let timings = benchmark.measure([try entry("cpu", clock, 7, failAt: 18), try entry("all", other, 9)])
        XCTAssertEqual(timings.map(\.failure), ["It broke.", nil])
        XCTAssertEqual(timings[0].samples, [7, 7])
        XCTAssertEqual(timings[1].turns, [3, 3])
        let broken = benchmark.measure([try entry("cpu", clock, 7, failAt: 3)])
        XCTAssertEqual(broken[0].failure, "It broke.")
        XCTAssertEqual(broken[0].sentence, "m.mlpackage (cpu): It broke.")
        try save(broken)
    }

    func testNoSamples() {
        XCTAssertNil(Statistics.median([]))
        XCTAssertFalse(Statistics.isSettled([]))
        XCTAssertFalse(Statistics.isSettled([1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 1, 1, 1, 1, 1]))
    }

    /// The test that runs these reads the records with `mobile_export.bench.record`.
    private func save(_ timings: [MobileExportKit.Timing]) throws {
        let device = DeviceFacts(
            id: "app:1", name: "iPhone15,2", arch: "arm64", os: "iOS 17.5", memoryMB: 5600, throttled: false)
        let text = try BenchmarkRecord.lines(timings, device: device, runtime: "Core ML of iOS 17.5", run: "r1")
        XCTAssertEqual(text.split(separator: "\n").count, timings.count)
        guard let folder = ProcessInfo.processInfo.environment["MOBILE_EXPORT_RECORDS"] else { return }
        let file = URL(fileURLWithPath: folder).appendingPathComponent("\(UUID().uuidString).jsonl")
        try Data(text.utf8).write(to: file)
    }
}
