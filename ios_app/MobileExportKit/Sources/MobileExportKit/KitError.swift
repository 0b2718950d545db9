import Foundation

/// What went wrong, in a sentence that the app shows as it is.
public struct KitError: Error, Equatable, LocalizedError, CustomStringConvertible {
    public let sentence: String

    public init(_ sentence: String) {
        self.sentence = sentence
    }

    public var errorDescription: String? { sentence }
    public var description: String { sentence }
}

/// Elements of a tensor of this shape, or nil where there are more than `most`.
func elementCount(_ shape: [Int], most: Int) -> Int? {
    if shape.contains(0) { return 0 }
    var count = 1
    for extent in shape {
        let (product, overflow) = count.multipliedReportingOverflow(by: extent)
        if overflow || extent < 0 || product > most { return nil }
        count = product
    }
    return count
}

/// A number with a comma between its thousands, the same in every country.
func grouped(_ number: Int) -> String {
    var digits = Array(String(abs(number)))
    var place = digits.count - 3
    while place > 0 {
        digits.insert(",", at: place)
        place -= 3
    }
    return (number < 0 ? "-" : "") + String(digits)
}
