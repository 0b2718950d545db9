import Foundation

/// Pillow's resampling (`Image.resize`): half-pixel centres, antialiased when it makes a side smaller,
/// along rows and along columns, rounded to 8 bits after each, in fixed point of 22 bits.
public enum Filter: String, Sendable {
    case nearest, box, bilinear, hamming, bicubic, lanczos

    /// Of a manifest's word; a word that is not known is bilinear, as in timm.
    public init(word: String) {
        self = Filter(rawValue: word.lowercased()) ?? .bilinear
    }

    var support: Double {
        switch self {
        case .nearest, .box: 0.5
        case .bilinear, .hamming: 1
        case .bicubic: 2
        case .lanczos: 3
        }
    }

    func weight(_ given: Double) -> Double {
        let x = abs(given)
        switch self {
        case .nearest, .box: return given > -0.5 && given <= 0.5 ? 1 : 0
        case .bilinear: return x < 1 ? 1 - x : 0
        case .hamming:
            if x == 0 { return 1 }
            return x < 1 ? sin(x * .pi) / (x * .pi) * (0.54 + 0.46 * cos(x * .pi)) : 0
        case .bicubic:  // Keys' cubic with a = -0.5
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
        case .lanczos: return x < 3 ? sinc(given) * sinc(given / 3) : 0
        }
    }

    private func sinc(_ x: Double) -> Double {
        x == 0 ? 1 : sin(x * .pi) / (x * .pi)
    }
}

extension Picture {
    /// - Throws: `KitError`: the new size is not valid.
    public func resized(width: Int, height: Int, filter: Filter) throws -> Picture {
        try Picture.checkSize(width, height)
        if width == self.width && height == self.height { return self }
        if filter == .nearest { return nearest(width, height) }
        // Pillow 13 begins with the columns where they shrink by more than twice what the rows do.
        if height < self.height && self.height - height > 2 * (self.width - width) {
            return try columns(height, filter).rows(width, filter)
        }
        return try rows(width, filter).columns(height, filter)
    }

    private func rows(_ width: Int, _ filter: Filter) throws -> Picture {
        try Picture.checkSize(width, height)
        return width == self.width ? self : alongRows(Taps(from: self.width, to: width, filter))
    }

    private func columns(_ height: Int, _ filter: Filter) throws -> Picture {
        try Picture.checkSize(width, height)
        return height == self.height ? self : alongColumns(Taps(from: self.height, to: height, filter))
    }

    private func nearest(_ width: Int, _ height: Int) -> Picture {
        var made: [UInt8] = []
        made.reserveCapacity(width * height * channels)
        let columns = (0..<width).map { Picture.nearest($0, self.width, width) }
        for y in 0..<height {
            let row = Picture.nearest(y, self.height, height) * self.width
            for column in columns {
                let from = (row + column) * channels
                made += pixels[from..<from + channels]
            }
        }
        return Picture(trusted: width, height, channels, made)
    }

    private static func nearest(_ place: Int, _ have: Int, _ want: Int) -> Int {
        min(have - 1, Int((Double(place) + 0.5) * Double(have) / Double(want)))
    }

    private func alongRows(_ taps: Taps) -> Picture {
        let made = [UInt8](unsafeUninitializedCapacity: taps.count * height * channels) { buffer, count in
            pixels.withUnsafeBufferPointer { pixels in
                for y in 0..<height {
                    for x in 0..<taps.count {
                        let from = (y * width + taps.first[x]) * channels
                        for c in 0..<channels {
                            buffer[(y * taps.count + x) * channels + c] = taps.sum(x, pixels, from + c, channels)
                        }
                    }
                }
            }
            count = taps.count * height * channels
        }
        return Picture(trusted: taps.count, height, channels, made)
    }

    private func alongColumns(_ taps: Taps) -> Picture {
        let stride = width * channels
        let made = [UInt8](unsafeUninitializedCapacity: taps.count * stride) { buffer, count in
            pixels.withUnsafeBufferPointer { pixels in
                for y in 0..<taps.count {
                    for x in 0..<stride {
                        buffer[y * stride + x] = taps.sum(y, pixels, taps.first[y] * stride + x, stride)
                    }
                }
            }
            count = taps.count * stride
        }
        return Picture(trusted: width, taps.count, channels, made)
    }
}

/// Of each new pixel along one axis: the first old one, and the weights of it and those after it.
private struct Taps {
    private static let bits = 22
    let count: Int
    let first: [Int]
    private let start: [Int]
    private let weights: [Int]

    init(from have: Int, to want: Int, _ filter: Filter) {
        let scale = Double(have) / Double(want)
        let wider = max(scale, 1)
        let support = filter.support * wider
        var first: [Int] = []
        var start = [0]
        var weights: [Int] = []
        for place in 0..<want {
            let centre = (Double(place) + 0.5) * scale
            let low = max(0, Int(centre - support + 0.5))
            let high = min(have, Int(centre + support + 0.5))
            let exact = (low..<high).map { filter.weight((Double($0) - centre + 0.5) * (1 / wider)) }
            let total = exact.reduce(0, +)
            for weight in exact {
                let share = total != 0 ? weight / total : weight
                weights.append(Int(share * Double(1 << Taps.bits) + (share < 0 ? -0.5 : 0.5)))
            }
            first.append(low)
            start.append(weights.count)
        }
        count = want
        self.first = first
        self.start = start
        self.weights = weights
    }

    func sum(_ place: Int, _ pixels: UnsafeBufferPointer<UInt8>, _ from: Int, _ step: Int) -> UInt8 {
        var total = 1 << (Taps.bits - 1)
        var at = from
        for k in start[place]..<start[place + 1] {
            total += Int(pixels[at]) * weights[k]
            at += step
        }
        return UInt8(min(255, max(0, total >> Taps.bits)))
    }
}
