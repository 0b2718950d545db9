import Foundation

/// Of durations.
public enum Statistics {
    /// By linear interpolation between the two nearest, as NumPy does; nil of no samples.
    ///
    /// - Parameter share: from 0 to 1.
    public static func percentile(_ samples: [UInt64], _ share: Double) -> Double? {
        let sorted = samples.sorted()
        guard let last = sorted.last else { return nil }
        let place = Double(sorted.count - 1) * min(max(share, 0), 1)
        let below = Int(place)
        let next = below + 1 < sorted.count ? sorted[below + 1] : last
        return Double(sorted[below]) + (place - Double(below)) * (Double(next) - Double(sorted[below]))
    }

    public static func median(_ samples: [UInt64]) -> Double? { percentile(samples, 0.5) }

    /// Whether a warm-up is over: the medians of the last three windows of runs differ by no more than 2 %.
    public static func isSettled(_ samples: [UInt64], window: Int = 5) -> Bool {
        guard samples.count >= 3 * window else { return false }
        let last = Array(samples.suffix(3 * window))
        let medians = (0..<3).compactMap { median(Array(last[$0 * window..<($0 + 1) * window])) }
        guard let low = medians.min(), let high = medians.max() else { return false }
        return high - low <= 0.02 * low
    }
}

/// A loaded file that is measured.
public struct BenchmarkEntry {
    public let manifest: Manifest
    /// Where it was asked to run: `cpu`, `cpu,gpu`, `cpu,ane` or `all`.
    public let backend: String
    public let loadNanoseconds: UInt64
    /// Nil where the outputs could not be compared.
    public let check: CheckResult?
    public let run: () throws -> Void

    public init(
        manifest: Manifest, backend: String, loadNanoseconds: UInt64, check: CheckResult?,
        run: @escaping () throws -> Void
    ) {
        self.manifest = manifest
        self.backend = backend
        self.loadNanoseconds = loadNanoseconds
        self.check = check
        self.run = run
    }
}

/// What was measured of an entry.
public struct Timing {
    public let entry: BenchmarkEntry
    /// Nanoseconds, in the order of execution.
    public let samples: [UInt64]
    /// How many of them were back to back, in turns.
    public let turns: [Int]
    public let warmUp: Int
    public let settled: Bool
    public let started: Date
    public let failure: String?

    /// For the screen.
    public var sentence: String {
        let name = "\(entry.manifest.file) (\(entry.backend))"
        if let failure { return "\(name): \(failure)" }
        func ms(_ share: Double) -> String {
            let value = (Statistics.percentile(samples, share) ?? 0) / 1e6
            return String(format: "%.2f", locale: Locale(identifier: "en_US_POSIX"), value)
        }
        return "\(name): median \(ms(0.5)) ms, 10 % to 90 % \(ms(0.1)) to \(ms(0.9)) ms, \(samples.count) runs"
            + (settled ? "" : "; the warm-up never became stable")
    }
}

/// Warms up, then lets the entries take turns, so that a phone that gets slower is slower for all.
public struct Benchmark {
    public var turns = 6
    public var runs = 10
    public var mostWarmUp = 60
    private let clock: () -> UInt64

    /// - Parameter clock: nanoseconds that only grow.
    public init(clock: @escaping () -> UInt64 = { DispatchTime.now().uptimeNanoseconds }) {
        self.clock = clock
    }

    /// - Parameter said: what it is doing, for the screen.
    public func measure(_ entries: [BenchmarkEntry], said: (String) -> Void = { _ in }) -> [Timing] {
        var (samples, lengths) = (entries.map { _ in [UInt64]() }, entries.map { _ in [Int]() })
        var failures = [String?](repeating: nil, count: entries.count)
        var warm = entries.map { _ in [UInt64]() }
        for (k, entry) in entries.enumerated() {
            said("Warming up: \(entry.manifest.file) (\(entry.backend))")
            while warm[k].count < mostWarmUp && failures[k] == nil && !Statistics.isSettled(warm[k]) {
                failures[k] = timed(entry, 1, &warm[k])
            }
        }
        let started = Date()
        for turn in 1...max(turns, 1) {
            for (k, entry) in entries.enumerated() where failures[k] == nil {
                said("Turn \(turn) of \(turns): \(entry.manifest.file) (\(entry.backend))")
                let before = samples[k].count
                failures[k] = timed(entry, runs, &samples[k])
                if samples[k].count > before { lengths[k].append(samples[k].count - before) }
            }
        }
        return entries.enumerated().map { k, entry in
            Timing(
                entry: entry, samples: samples[k], turns: lengths[k], warmUp: warm[k].count,
                settled: Statistics.isSettled(warm[k]), started: started, failure: failures[k])
        }
    }

    /// Runs an entry; the sentence of what failed, or nil.
    private func timed(_ entry: BenchmarkEntry, _ count: Int, _ samples: inout [UInt64]) -> String? {
        for _ in 0..<count {
            let start = clock()
            do { try entry.run() } catch { return error.localizedDescription }
            samples.append(max(1, clock() &- start))
        }
        return nil
    }
}

/// The device, as far as it tells an app.
public struct DeviceFacts: Sendable {
    /// A name of its own for each device; no serial number.
    public let id: String
    /// Such as `iPhone15,2`.
    public let name: String
    public let arch: String
    public let os: String
    public let memoryMB: Int?
    /// It lowered its clocks because of heat meanwhile; nil where it does not tell.
    public let throttled: Bool?

    public init(id: String, name: String, arch: String, os: String, memoryMB: Int?, throttled: Bool?) {
        self.id = id
        self.name = name
        self.arch = arch
        self.os = os
        self.memoryMB = memoryMB
        self.throttled = throttled
    }
}

/// Lines of the store of `mobile-bench` (docs/bench.md), schema 1: `mobile-bench import FILE` reads them.
public enum BenchmarkRecord {
    /// A line of JSON for each entry.
    ///
    /// - Parameters:
    ///   - runtime: that executed them, with its version.
    ///   - run: unique, the same for all that took turns.
    public static func lines(_ timings: [Timing], device: DeviceFacts, runtime: String, run: String) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try timings.map { timing in
            let line = Line(timing, device, runtime, run)
            return String(decoding: try encoder.encode(line), as: UTF8.self) + "\n"
        }.joined()
    }

    private struct Line: Encodable {
        let schema = 1
        let time: String
        let run: String
        let model: String
        let artifact: Artifact
        let device: Device
        let runner: Runner
        let unit = "ns"
        let samples: [UInt64]
        let blocks: [Int]
        let starts: [Int]
        let warmup: Int
        let load_ns: UInt64
        let parity: Parity?
        let check: Check?
        let versions: [String: String]
        let marks: [String]
        let notes: [String]

        init(_ timing: Timing, _ device: DeviceFacts, _ runtime: String, _ run: String) {
            let manifest = timing.entry.manifest
            let format = ISO8601DateFormatter()
            format.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
            time = format.string(from: timing.started)
            self.run = run
            model = manifest.source
            artifact = Artifact(manifest)
            self.device = Device(device)
            runner = Runner(
                version: runtime, backend: timing.entry.backend,
                precision: timing.entry.backend == "cpu" ? manifest.precision : "fp16")
            samples = timing.samples
            blocks = timing.turns
            starts = timing.turns.isEmpty ? [] : [timing.turns.count]
            warmup = timing.warmUp
            load_ns = timing.entry.loadNanoseconds
            parity = manifest.parity
            check = timing.entry.check.map(Check.init)
            versions = Dictionary(manifest.tools.map { ("export:\($0.key)", $0.value) }) { first, _ in first }
            let flags = Line.flags(timing, device)
            marks = flags.map(\.0).sorted()
            notes = flags.sorted { $0.0 < $1.0 }.map { "\($0.0): \($0.1)" }
        }

        /// Of docs/bench.md, each with its reason.
        private static func flags(_ timing: Timing, _ device: DeviceFacts) -> [(String, String)] {
            var found: [(String, String)] = []
            if let failure = timing.failure { found.append(("failed", failure)) }
            if !timing.settled { found.append(("unsettled", "the warm-up never became stable")) }
            if device.throttled == true { found.append(("throttled", "the device says that it is hot")) }
            if let check = timing.entry.check {
                if !check.passed { found.append(("wrong_output", check.sentence)) }
            } else {
                found.append(("unchecked", "the app could not compare the outputs"))
            }
            return found
        }
    }

    private struct Artifact: Encodable {
        let file: String
        let format: String
        let precision: String
        let sha256: String
        let bytes: Int
        let input_shape: [Int]

        init(_ manifest: Manifest) {
            file = manifest.file
            format = manifest.format
            precision = manifest.precision
            sha256 = manifest.sha256
            bytes = manifest.bytes
            input_shape = manifest.input.shape
        }
    }

    private struct Device: Encodable {
        let spec: String
        let kind = "app"
        let name: String
        let arch: String
        let os: String
        let memory_mb: Int?
        let soc: String?

        init(_ facts: DeviceFacts) {
            spec = facts.id
            name = facts.name
            arch = facts.arch
            os = facts.os
            memory_mb = facts.memoryMB
            soc = nil
        }

        private enum Keys: String, CodingKey { case spec, kind, name, arch, os, memory_mb, soc }

        /// A device that does not tell is null, and the field is there.
        func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: Keys.self)
            try fields.encode(spec, forKey: .spec)
            try fields.encode(kind, forKey: .kind)
            try fields.encode(name, forKey: .name)
            try fields.encode(arch, forKey: .arch)
            try fields.encode(os, forKey: .os)
            try fields.encode(memory_mb, forKey: .memory_mb)
            try fields.encode(soc, forKey: .soc)
        }
    }

    private struct Runner: Encodable {
        let version: String
        let backend: String
        let precision: String

        private enum Keys: String, CodingKey { case name, version, threads, cores, backend, precision }

        func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: Keys.self)
            try fields.encode("coreml", forKey: .name)
            try fields.encode(version, forKey: .version)
            try fields.encode(0, forKey: .threads)  // Core ML decides
            try fields.encodeNil(forKey: .cores)
            try fields.encode(backend, forKey: .backend)
            try fields.encode(precision, forKey: .precision)
        }
    }

    private struct Check: Encodable {
        let passed: Bool
        let max_rel: Double?
        let tolerance: Double
        let compared: Int

        init(_ result: CheckResult) {
            passed = result.passed
            max_rel = result.error.isFinite ? result.error : nil
            tolerance = result.tolerance
            compared = result.compared
        }

        private enum Keys: String, CodingKey { case passed, max_rel, tolerance, compared }

        func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: Keys.self)
            try fields.encode(passed, forKey: .passed)
            try fields.encode(max_rel, forKey: .max_rel)
            try fields.encode(tolerance, forKey: .tolerance)
            try fields.encode(compared, forKey: .compared)
        }
    }
}
