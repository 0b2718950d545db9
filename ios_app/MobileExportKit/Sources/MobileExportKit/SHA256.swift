import Foundation

/// SHA-256 (FIPS 180-4), without a library of one platform.
public struct SHA256 {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var rest: [UInt8] = []
    private var count: UInt64 = 0

    public init() {}

    public mutating func update(_ data: some Sequence<UInt8>) {
        let bytes = rest + Array(data)
        count += UInt64(bytes.count - rest.count)
        let whole = bytes.count / 64 * 64
        bytes.withUnsafeBufferPointer { pointer in
            for start in stride(from: 0, to: whole, by: 64) { block(pointer, start) }
        }
        rest = Array(bytes[whole...])
    }

    /// 64 hexadecimal digits.
    public mutating func finish() -> String {
        let bits = count * 8
        var end: [UInt8] = [0x80]
        end += [UInt8](repeating: 0, count: (119 - rest.count) % 64)
        for shift in stride(from: 56, through: 0, by: -8) {
            end.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        update(end)
        return state.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    public static func hash(_ data: some Sequence<UInt8>) -> String {
        var digest = SHA256()
        digest.update(data)
        return digest.finish()
    }

    private mutating func block(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int) {
        func turn(_ x: UInt32, _ by: UInt32) -> UInt32 { x >> by | x << (32 - by) }
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            for t in 0..<16 {
                let at = start + 4 * t
                let high = UInt32(bytes[at]) << 24 | UInt32(bytes[at + 1]) << 16
                w[t] = high | UInt32(bytes[at + 2]) << 8 | UInt32(bytes[at + 3])
            }
            for t in 16..<64 {
                let a = turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ w[t - 15] >> 3
                let b = turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ w[t - 2] >> 10
                w[t] = w[t - 16] &+ a &+ w[t - 7] &+ b
            }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            for t in 0..<64 {
                let one = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
                let first = h &+ one &+ (e & f ^ ~e & g) &+ SHA256.constants[t] &+ w[t]
                let two = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
                let second = two &+ (a & b ^ a & c ^ b & c)
                (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
            }
            for (k, value) in [a, b, c, d, e, f, g, h].enumerated() { state[k] &+= value }
        }
    }

    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
    private static let constants: [UInt32] = {
        var primes: [UInt64] = []
        var candidate: UInt64 = 2
        while primes.count < 64 {
            if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { prime in
            // The cube root of prime * 2^96, rounded down, in whole numbers.
            var (low, high): (UInt64, UInt64) = (0, 1 << 36)
            while high - low > 1 {
                let middle = (low + high) / 2
                let square = middle.multipliedFullWidth(by: middle)
                let lower = square.low.multipliedFullWidth(by: middle)
                let upper = square.high * middle + lower.high
                if upper < prime << 32 { low = middle } else { high = middle }
            }
            return UInt32(truncatingIfNeeded: low)
        }
    }()
}
