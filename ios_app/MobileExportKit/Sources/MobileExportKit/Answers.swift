import Foundation

/// A class of the whole picture, or an object in it.
public struct Found: Equatable, Sendable {
    public let index: Int
    /// Of the class; nil where it has none.
    public let name: String?
    /// Its probability.
    public let score: Double
    /// In pixels of the picture; nil of the whole.
    public let box: Box?

    /// For the screen: the name, not longer than a line, or, without one, its index.
    public var title: String { classTitle(name, index) }
}

/// A class that pixels belong to, and their share of the picture.
public struct Region: Equatable, Sendable {
    public let index: Int
    public let name: String?
    public let share: Double

    public var title: String { classTitle(name, index) }
    public var colour: Colour { Colour(ofClass: index) }
}

private func classTitle(_ name: String?, _ index: Int) -> String {
    guard let name else { return "class \(index)" }
    return name.count <= 60 ? name : name.prefix(60) + "…"
}

/// An output, for a person who wants the numbers.
public struct NamedTensor: Equatable, Sendable {
    public let name: String
    public let meaning: String?
    /// In the model's order of axes.
    public let tensor: Tensor

    /// Shape, least and greatest value.
    public var sentence: String {
        let size = tensor.shape.map(String.init).joined(separator: "x")
        guard let least = tensor.values.min(), let most = tensor.values.max() else { return "\(name): \(size), empty" }
        let odd = tensor.values.contains { !$0.isFinite } ? "; some are not finite" : ""
        return "\(name): \(size), from \(short(Double(least))) to \(short(Double(most)))\(odd)"
    }
}

/// What a model says of a picture.
public struct Answer: Sendable {
    public enum Kind: Equatable, Sendable {
        /// The likeliest first.
        case classes([Found])
        /// The surest first.
        case objects([Found])
        /// A class for each pixel of a map, and the regions, the largest first.
        case regions([Region], mask: Mask)
        /// An upscaled picture.
        case image(Picture)
        /// In [0, 1] as grey: probability, or nearness relative to this picture.
        case map(Picture)
        /// Nobody said what the outputs mean.
        case tensors
    }

    public let kind: Kind
    public let results: [NamedTensor]
}

/// The index of the class of each pixel.
public struct Mask: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public let labels: [Int32]

    /// In the colours of the classes.
    public func painted() -> Picture {
        var colours: [Int32: Colour] = [:]
        var pixels: [UInt8] = []
        pixels.reserveCapacity(3 * labels.count)
        for label in labels {
            let colour = colours[label] ?? Colour(ofClass: Int(label))
            colours[label] = colour
            pixels += [colour.red, colour.green, colour.blue]
        }
        return Picture(trusted: width, height, 3, pixels)
    }
}

/// Probabilities of a row of logits.
public func softmax(_ logits: [Float]) -> [Double] {
    let largest = Double(logits.max() ?? 0)
    let powers = logits.map { exp(Double($0) - largest) }
    let total = powers.reduce(0, +)
    return powers.map { $0 / total }
}

/// Indices of the greatest values, the greatest first; of equal ones, the first.
public func topK(_ values: [Double], _ count: Int = 5) -> [Int] {
    Array(
        values.indices.sorted { values[$0] != values[$1] ? values[$0] > values[$1] : $0 < $1 }.prefix(count))
}

extension Manifest {
    private static let mostClasses = 65536

    /// The answer in the words of the outputs' meanings; numbers that cannot be what the manifest says are
    /// shown as numbers.
    ///
    /// - Parameter outputs: by their names in the file.
    public func answer(_ outputs: [String: Tensor], _ prepared: Prepared) throws -> Answer {
        if nms != nil, let found = try inside(outputs) {
            return Answer(kind: .objects(located(found, prepared)), results: asIs(outputs))
        }
        let ordered = inModelOrder(outputs)
        let results = self.outputs.compactMap { output -> NamedTensor? in
            guard let tensor = ordered[output.name] else { return nil }
            let meaning = interface?.outputs.first { $0.source == output.name }?.meaning
            return NamedTensor(name: output.name, meaning: meaning, tensor: tensor)
        }
        if results.count != self.outputs.count {
            return Answer(kind: .tensors, results: asIs(outputs))
        }
        var values: [String: Tensor] = [:]
        for result in results {
            if let meaning = result.meaning, values[meaning] == nil, fits(result) { values[meaning] = result.tensor }
        }
        return Answer(kind: try kind(values, prepared), results: results)
    }

    private func kind(_ values: [String: Tensor], _ prepared: Prepared) throws -> Answer.Kind {
        if let boxes = values["boxes"], let scores = values["scores"], boxes.shape[1] == scores.shape[1] {
            let format = interface?.outputs.first { $0.meaning == "boxes" }?.box
            let found = try suppress(boxes: corners(boxes.values, format), scores: scores.values)
            return .objects(located(found, prepared))
        }
        if let labels = values["labels"] {
            let size = labels.shape.suffix(2)
            return regions(labels.values.map(Int32.init), width: size.last!, height: size.first!)
        }
        let sure = values["probabilities"]
        if let scores = sure ?? values["logits"] {
            if scores.shape.count == 2 {
                return .classes(best(sure == nil ? softmax(scores.values) : scores.values.map(Double.init)))
            }
            let (width, height) = (scores.shape[3], scores.shape[2])
            if scores.shape[1] == 1 {
                return .map(grey(scores.values.map { min(max(Double($0), 0), 1) }, width, height))
            }
            if scores.shape[1] > Manifest.mostClasses { return .tensors }
            let labels = likeliest(scores, width: input.width, height: input.height)
            return regions(labels, width: input.width, height: input.height)
        }
        if let image = values["upscaled"] { return .image(upscaled(image)) }
        for meaning in ["disparity", "depth"] {
            guard let map = values[meaning] else { continue }
            let near = relative(map.values).map { meaning == "depth" ? 1 - $0 : $0 }
            return .map(grey(near, map.shape[map.shape.count - 1], map.shape[map.shape.count - 2]))
        }
        return .tensors
    }

    /// Whether an output can be what the manifest says: it may say anything.
    private func fits(_ result: NamedTensor) -> Bool {
        let (shape, values) = (result.tensor.shape, result.tensor.values)
        if values.isEmpty || !values.allSatisfy(\.isFinite) { return false }
        let flat = (3...4).contains(shape.count) && shape.dropLast(2).allSatisfy { $0 == 1 }
        switch result.meaning {
        case "logits", "probabilities": return [2, 4].contains(shape.count) && shape[0] == 1
        case "boxes": return shape.count == 3 && shape[0] == 1 && shape[2] == 4
        case "scores": return shape.count == 3 && shape[0] == 1
        case "labels":
            return flat && values.allSatisfy { $0 >= 0 && $0 < Float(Manifest.mostClasses) && $0 == $0.rounded() }
        case "upscaled": return shape.count == 4 && shape[0] == 1 && (shape[1] == 1 || shape[1] == 3)
        case "disparity", "depth": return flat
        default: return true
        }
    }

    private func name(_ index: Int) -> String? {
        classNames.flatMap { $0.indices.contains(index) ? $0[index] : nil }
    }

    private func best(_ probabilities: [Double]) -> [Found] {
        topK(probabilities).map { Found(index: $0, name: name($0), score: probabilities[$0], box: nil) }
    }

    private func located(_ found: [Detection], _ prepared: Prepared) -> [Found] {
        let (width, height) = (prepared.picture.width, prepared.picture.height)
        return found.map { each in
            let box = prepared.placement.toPicture(each.box, width: width, height: height).ordered
            return Found(index: each.index, name: name(each.index), score: Double(each.score), box: box)
        }
    }

    private func regions(_ labels: [Int32], width: Int, height: Int) -> Answer.Kind {
        var counts: [Int32: Int] = [:]
        for label in labels { counts[label, default: 0] += 1 }
        let order = counts.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }
        let regions = order.map { label, count in
            Region(index: Int(label), name: name(Int(label)), share: Double(count) / Double(labels.count))
        }
        return .regions(regions, mask: Mask(width: width, height: height, labels: labels))
    }

    private func asIs(_ outputs: [String: Tensor]) -> [NamedTensor] {
        outputs.sorted { $0.key < $1.key }.map { name, tensor in
            NamedTensor(name: name, meaning: interface?.outputs.first { $0.name == name }?.meaning, tensor: tensor)
        }
    }

    // MARK: detections

    /// The boxes of rows of four numbers, as corners in pixels of the input.
    private func corners(_ values: [Float], _ format: BoxFormat?) -> [Box] {
        let order = format?.order ?? ["left", "top", "right", "bottom"]
        let image = format?.unit == "image"
        let (wide, high) = image ? (Double(input.width), Double(input.height)) : (1, 1)
        return stride(from: 0, to: values.count - 3, by: 4).map { row in
            func edge(_ name: String, _ centre: String, _ size: String, _ sign: Double) -> Double {
                if let place = order.firstIndex(of: name) { return Double(values[row + place]) }
                guard let middle = order.firstIndex(of: centre), let side = order.firstIndex(of: size) else { return 0 }
                return Double(values[row + middle]) + sign * Double(values[row + side]) / 2
            }
            return Box(
                left: edge("left", "centre x", "width", -1) * wide, top: edge("top", "centre y", "height", -1) * high,
                right: edge("right", "centre x", "width", 1) * wide,
                bottom: edge("bottom", "centre y", "height", 1) * high)
        }
    }

    /// The detections of a file that suppresses; nil where its outputs cannot be that.
    private func inside(_ outputs: [String: Tensor]) throws -> [Detection]? {
        func one(_ meaning: String) -> Tensor? {
            interface?.outputs.first { $0.meaning == meaning }.flatMap { outputs[$0.name] }
        }
        guard let boxes = one("boxes"), let scores = one("scores"), boxes.shape.last == 4,
            (boxes.values + scores.values).allSatisfy(\.isFinite)
        else { return nil }
        let found = corners(boxes.values, interface?.outputs.first { $0.meaning == "boxes" }?.box)
        if let classes = one("classes") {
            let count = min(one("count")?.values.first.map { Int(max(0, min($0, 1e6))) } ?? found.count, found.count)
            guard scores.values.count >= count, classes.values.count >= count, classes.values.allSatisfy(\.isFinite)
            else { return nil }
            return (0..<count).map { k in
                Detection(box: found[k], score: scores.values[k], index: Int(max(-1, min(classes.values[k], 1e6))))
            }
        }
        // Core ML's: a row of scores for each box; rows that fill up are zero.
        guard let kinds = scores.shape.last, kinds > 0, scores.values.count == found.count * kinds else { return nil }
        return found.indices.compactMap { k in
            let row = Array(scores.values[k * kinds..<(k + 1) * kinds])
            guard let index = topK(row.map(Double.init), 1).first, row[index] > 0 else { return nil }
            return Detection(box: found[k], score: row[index], index: index)
        }
    }

    // MARK: maps

    private func grey(_ shares: [Double], _ width: Int, _ height: Int) -> Picture {
        Picture(trusted: width, height, 1, shares.map(eightBits))
    }

    private func eightBits(_ share: Double) -> UInt8 {
        UInt8((min(max(share, 0), 1) * 255).rounded(.toNearestOrEven))
    }

    private func relative(_ values: [Float]) -> [Double] {
        let (low, high) = (Double(values.min() ?? 0), Double(values.max() ?? 0))
        return values.map { high > low ? (Double($0) - low) / (high - low) : 0 }
    }

    private func upscaled(_ image: Tensor) -> Picture {
        let (channels, count) = (image.shape[1], image.shape[2] * image.shape[3])
        let pixels = (0..<count * channels).map { i in
            eightBits(Double(image.values[i % channels * count + i / channels]))
        }
        return Picture(trusted: image.shape[3], image.shape[2], channels, pixels)
    }
}

/// The class with the greatest score at each pixel, of scores (1, C, h, w) that are upsampled first,
/// bilinear, without aligned corners.
public func likeliest(_ scores: Tensor, width: Int, height: Int) -> [Int32] {
    let (kinds, h, w) = (scores.shape[1], scores.shape[2], scores.shape[3])
    let (columns, rows) = (Tap.all(from: w, to: width), Tap.all(from: h, to: height))
    var labels = [Int32](repeating: 0, count: width * height)
    scores.values.withUnsafeBufferPointer { values in
        var best = [Double](repeating: 0, count: width)
        for (y, row) in rows.enumerated() {
            for kind in 0..<kinds {
                let (upper, lower) = ((kind * h + row.first) * w, (kind * h + row.second) * w)
                for (x, column) in columns.enumerated() {
                    let (a, b) = (Double(values[upper + column.first]), Double(values[upper + column.second]))
                    let (c, d) = (Double(values[lower + column.first]), Double(values[lower + column.second]))
                    let above = a * (1 - column.share) + b * column.share
                    let below = c * (1 - column.share) + d * column.share
                    let value = above * (1 - row.share) + below * row.share
                    if kind == 0 || value > best[x] {
                        best[x] = value
                        labels[y * width + x] = Int32(kind)
                    }
                }
            }
        }
    }
    return labels
}

/// Two neighbours along one axis, and the share of the second.
private struct Tap {
    let first: Int
    let second: Int
    let share: Double

    static func all(from have: Int, to want: Int) -> [Tap] {
        (0..<want).map { place in
            let exact = max(0, (Double(place) + 0.5) * Double(have) / Double(want) - 0.5)
            let first = min(Int(exact), have - 1)
            return Tap(first: first, second: min(first + 1, have - 1), share: exact - Double(first))
        }
    }
}
