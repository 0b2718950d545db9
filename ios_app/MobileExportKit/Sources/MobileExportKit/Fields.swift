import Foundation

/// Fields of a file that somebody else may have written: each has its limit.
extension KeyedDecodingContainer {
    func invalid(_ key: Key, _ what: String) -> DecodingError {
        DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: what)
    }

    func name(_ key: Key, longest: Int = 1024) throws -> String {
        let text = try decode(String.self, forKey: key)
        if text.utf8.count > 4 * longest {
            throw invalid(key, "a text of \(grouped(text.utf8.count)) bytes; it is too long")
        }
        return text
    }

    func optionalName(_ key: Key) throws -> String? {
        if !contains(key) { return nil }
        return try decodeNil(forKey: key) ? nil : name(key)
    }

    /// One path component, which cannot lead out of the folder.
    func fileName(_ key: Key) throws -> String {
        let text = try name(key, longest: 255)
        let forbidden = text.unicodeScalars.contains {
            $0 == "/" || $0 == "\\" || $0.value < 0x20 || $0.value == 0x7f
        }
        if text.isEmpty || text == "." || text == ".." || forbidden {
            throw invalid(key, "a file name without a folder is expected")
        }
        return text
    }

    func sha256(_ key: Key) throws -> String {
        let text = try decode(String.self, forKey: key)
        if text.utf8.count != 64 || !text.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) }) {
            throw invalid(key, "64 hexadecimal digits (0-9, a-f) are expected")
        }
        return text
    }

    func list<T: Decodable>(_ key: Key, most: Int) throws -> [T]? {
        guard let items = try decodeIfPresent([T].self, forKey: key) else { return nil }
        if items.count > most {
            throw invalid(key, "\(grouped(items.count)) of them; at most \(grouped(most)) are taken")
        }
        return items
    }

    func require<T: Decodable>(_ key: Key, most: Int) throws -> [T] {
        let items = try decode([T].self, forKey: key)
        if items.isEmpty || items.count > most {
            throw invalid(key, "\(grouped(items.count)) of them; 1 to \(grouped(most)) are taken")
        }
        return items
    }

    /// Finite numbers.
    func numbers(_ key: Key, most: Int) throws -> [Double]? {
        let items: [Double]? = try list(key, most: most)
        if let items, items.contains(where: { !$0.isFinite || abs($0) > 1e300 }) {
            throw invalid(key, "finite numbers are expected")
        }
        return items
    }

    func shape(_ key: Key, mostElements: Int) throws -> [Int] {
        let shape: [Int] = try list(key, most: 16) ?? []
        if shape.contains(where: { $0 < 0 || $0 > 1 << 31 }) {
            throw invalid(key, "extents from 0 to 2,147,483,648 are expected")
        }
        if elementCount(shape, most: mostElements) == nil {
            throw invalid(key, "a tensor of more than \(grouped(mostElements)) elements")
        }
        return shape
    }

    func freeShape(_ key: Key) throws -> [Int?] {
        let shape: [Int?] = try list(key, most: 16) ?? []
        let known = shape.compactMap { $0 }
        if known.contains(where: { $0 < 0 }) || elementCount(known, most: 1 << 31) == nil {
            throw invalid(key, "a tensor of more than 2,147,483,648 elements")
        }
        return shape
    }

    func layout(_ key: Key, of shape: [Int?]) throws -> String? {
        guard let text = try optionalName(key) else { return nil }
        if text.count != shape.count || Set(text).count != text.count
            || !text.allSatisfy({ "NCTHW".contains($0) })
        {
            throw invalid(key, "one letter of N, C, T, H, W for each extent of the shape")
        }
        return text
    }
}

/// What is wrong with a record, as the end of a sentence that begins with its name.
func explain(_ error: DecodingError) -> String {
    func place(_ path: [any CodingKey]) -> String {
        path.reduce(into: "") { text, key in
            if let index = key.intValue {
                text += "[\(index)]"
            } else {
                text += (text.isEmpty ? "" : ".") + key.stringValue
            }
        }
    }
    switch error {
    case .keyNotFound(let key, let context):
        return "lacks the field \(place(context.codingPath + [key]))"
    case .typeMismatch(let type, let context):
        return "is not valid at \(place(context.codingPath)): \(words(type)) is expected"
    case .valueNotFound(let type, let context):
        return "is not valid at \(place(context.codingPath)): it is null, and \(words(type)) is expected"
    case .dataCorrupted(let context):
        if context.codingPath.isEmpty { return "is not JSON" }
        return "is not valid at \(place(context.codingPath)): \(context.debugDescription)"
    @unknown default:
        return "cannot be read"
    }
}

private func words(_ type: any Any.Type) -> String {
    switch type {
    case is Int.Type: "a whole number"
    case is Double.Type: "a number"
    case is String.Type: "a text"
    case is Bool.Type: "true or false"
    case is Data.Type: "base64"
    default: "\(type)".hasPrefix("Array") ? "a list" : "an object"
    }
}
