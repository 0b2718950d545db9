import Foundation
import XCTest

@testable import MobileExportKit

/// An array of `tests/vectors`: little-endian bytes in base64.
struct Packed: Decodable {
    let dtype: String
    let shape: [Int]
    let data: Data

    var bytes: [UInt8] { [UInt8](data) }
    var floats: [Float] { Array(littleEndian: bytes) }
    var ints: [Int] { floats.map { Int(Int32(bitPattern: $0.bitPattern)) } }
    var tensor: Tensor { get throws { try Tensor(shape: shape, values: floats) } }
    var picture: Picture {
        get throws { try Picture(width: shape[1], height: shape[0], channels: shape[2], pixels: bytes) }
    }
}

private struct Cases<Case: Decodable>: Decodable { let cases: [Case] }

/// The cases of a file of `tests/vectors` of the repository, on which Python and Kotlin are tested, too.
func vectors<Case: Decodable>(_ name: String, as type: Case.Type = Case.self) throws -> [Case] {
    let here = URL(fileURLWithPath: #filePath)
    let root = (0..<5).reduce(here) { url, _ in url.deletingLastPathComponent() }
    let file = root.appendingPathComponent("tests/vectors/\(name).json")
    let cases = try JSONDecoder().decode(Cases<Case>.self, from: Data(contentsOf: file)).cases
    XCTAssertFalse(cases.isEmpty)
    return cases
}

/// A manifest in JSON; `change` spoils or completes it.
func manifestJSON(_ change: (inout [String: Any]) -> Void = { _ in }) throws -> Data {
    var fields: [String: Any] = [
        "schema": 1, "format": "coreml", "file": "m.mlpackage",
        "sha256": String(repeating: "a", count: 64), "bytes": 3, "source": "tiny",
        "input": [
            "name": "image", "shape": [1, 3, 2, 2], "channel_order": "RGB", "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        ],
        "outputs": [["name": "logits", "shape": [1, 3]]],
        "expected": [
            "sample": "noise-0", "input_sha256": String(repeating: "0", count: 64),
            "tolerance": ["fp32": 1e-5, "fp16": 1e-2],
            "outputs": [
                [
                    "name": "logits", "shape": [1, 3], "integer": false, "scale": 2.0,
                    "values": Data([Float](arrayLiteral: 1, -2, 0.5).littleEndian).base64EncodedString(),
                ]
            ],
        ],
        "task": "classification", "labels": ["cat", "dog", "cow"], "unknown field": [1, 2],
    ]
    change(&fields)
    return try JSONSerialization.data(withJSONObject: fields)
}

func manifest(_ change: (inout [String: Any]) -> Void = { _ in }) throws -> Manifest {
    try Manifest(json: manifestJSON(change), name: "m.manifest.json")
}

/// One output of the file that is an output of the model.
func withOutput(
    _ fields: inout [String: Any], _ meaning: String, _ shape: [Int], more: [String: Any] = [:]
) throws {
    let count = min(shape.reduce(1, *), Expected.mostValues)
    let values = Data([Float](repeating: 0, count: count).littleEndian).base64EncodedString()
    fields["outputs"] = [["name": "out", "shape": shape]]
    var expected = try XCTUnwrap(fields["expected"] as? [String: Any])
    expected["outputs"] = [["name": "out", "shape": shape, "integer": false, "scale": 0, "values": values]]
    fields["expected"] = expected
    let output: [String: Any] = [
        "name": "var_1", "shape": shape, "dtype": "float32", "meaning": meaning, "source": "out",
    ]
    let input: [String: Any] = ["name": "image", "shape": [1, 3, 2, 2], "dtype": "float32", "layout": "NCHW"]
    fields["interface"] = ["inputs": [input], "outputs": [output.merging(more) { _, new in new }]]
}

func refused(
    _ part: String, file: StaticString = #filePath, line: UInt = #line, _ action: () throws -> Void
) {
    XCTAssertThrowsError(try action(), file: file, line: line) { error in
        let said = (error as? KitError)?.sentence ?? "no KitError: \(error)"
        XCTAssertTrue(said.contains(part), "said: \(said)", file: file, line: line)
        XCTAssertTrue(said.hasSuffix("."), "no sentence: \(said)", file: file, line: line)
    }
}

func temporaryFolder() throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("kit-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    return url
}
