import Foundation

public struct Colour: Equatable, Sendable {
    public let red: UInt8
    public let green: UInt8
    public let blue: UInt8

    /// Of a class, the same everywhere: hues of neighbours are steps of the golden ratio apart, and classes
    /// of a like hue differ in saturation and brightness.
    public init(ofClass index: Int) {
        let (saturation, value) = Colour.tones[index / 3 % Colour.tones.count]
        let hue = (Double(index) * 0.61803398875).truncatingRemainder(dividingBy: 1) * 6
        let sector = Int(hue)
        let part = hue - Double(sector)
        let (p, q) = (value * (1 - saturation), value * (1 - saturation * part))
        let t = value * (1 - saturation * (1 - part))
        let rows = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
        let (r, g, b) = rows[sector % 6]
        func eight(_ share: Double) -> UInt8 { UInt8((255 * share).rounded(.toNearestOrEven)) }
        (red, green, blue) = (eight(r), eight(g), eight(b))
    }

    private static let tones = [(0.85, 0.95), (0.45, 0.95), (0.9, 0.6), (0.5, 0.7)]
}
