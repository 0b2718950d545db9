import Foundation

/// Left, top, right, bottom.
public struct Box: Equatable, Sendable {
    public let left: Double
    public let top: Double
    public let right: Double
    public let bottom: Double

    public init(left: Double, top: Double, right: Double, bottom: Double) {
        self.left = left
        self.top = top
        self.right = right
        self.bottom = bottom
    }

    var area: Double { (right - left) * (bottom - top) }

    /// Intersection over union; 0 where both are empty.
    func overlap(_ other: Box) -> Double {
        let width = max(0, min(right, other.right) - max(left, other.left))
        let height = max(0, min(bottom, other.bottom) - max(top, other.top))
        let union = area + other.area - width * height
        return union > 0 ? width * height / union : 0
    }

    /// With its edges in order, whatever the model gave.
    var ordered: Box {
        Box(
            left: min(left, right), top: min(top, bottom), right: max(left, right), bottom: max(top, bottom))
    }
}

public struct Detection: Equatable, Sendable {
    /// In pixels of the network's input.
    public let box: Box
    public let score: Float
    public let index: Int
}

/// Greedy non-maximum suppression within each class, as `mobile_export.detection.suppress`.
///
/// - Parameters:
///   - boxes: (N, 4) left, top, right, bottom; `scores`: (N, classes).
///   - candidates: the surest pairs of box and class that are looked at.
public func suppress(
    boxes: [Box], scores: [Float], scoreThreshold: Double = 0.02, iouThreshold: Double = 0.45,
    candidates: Int = 1000, limit: Int = 200
) throws -> [Detection] {
    guard !boxes.isEmpty else { return [] }
    guard scores.count % boxes.count == 0 else {
        throw KitError("There are \(boxes.count) boxes, but \(scores.count) scores.")
    }
    let classes = scores.count / boxes.count
    let sure = scores.indices.filter { scores[$0] > Float(scoreThreshold) }
    let order = sure.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
    var kept: [Detection] = []
    var rivals: [Int: [Box]] = [:]
    for place in order.prefix(candidates) where kept.count < limit {
        let (box, index) = (boxes[place / classes], place % classes)
        if rivals[index, default: []].contains(where: { $0.overlap(box) > iouThreshold }) { continue }
        rivals[index, default: []].append(box)
        kept.append(Detection(box: box, score: scores[place], index: index))
    }
    return kept
}
