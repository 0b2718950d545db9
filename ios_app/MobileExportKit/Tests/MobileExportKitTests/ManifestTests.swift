import XCTest

@testable import MobileExportKit

/// A manifest is untrusted: whatever it says, the app shows a sentence.
final class ManifestTests: XCTestCase {
    func testItIsRead() throws {
        let read = try manifest()
        XCTAssertEqual(read.input.shape, [1, 3, 2, 2])
        XCTAssertEqual(read.precision, "fp32")
        XCTAssertEqual(read.expected.outputs[0].values, [1, -2, 0.5])
        XCTAssertEqual(read.classNames, ["cat", "dog", "cow"])
        XCTAssertNil(read.interface)
    }

    func testANewerVersion() {
        refused("has schema 2; this app reads 1 to 1. Update the app") { _ = try manifest { $0["schema"] = 2 } }
        refused("has schema 0") { _ = try manifest { $0["schema"] = 0 } }
        refused("schema") { _ = try manifest { $0["schema"] = "1" } }
    }

    func testAModelOfSeveralInputs() {
        refused("takes input_ids beside the picture") {
            _ = try manifest { $0["other_inputs"] = [["name": "input_ids"]] }
        }
    }

    func testWhatIsNoManifest() {
        for text in ["", "{", "[]", "null", "\u{0}", "{\"schema\": 1e400}"] {
            refused("The manifest x ") { _ = try Manifest(json: Data(text.utf8), name: "x") }
        }
        let deep = String(repeating: "[", count: 100_000)
        refused("The manifest x ") { _ = try Manifest(json: Data(deep.utf8), name: "x") }
        let large = Data(count: Manifest.mostBytes + 1)
        refused("is larger than 67,108,864 bytes") { _ = try Manifest(json: large, name: "x") }
    }

    func testAFieldThatIsMissing() {
        for field in ["format", "file", "sha256", "source", "input", "outputs", "expected"] {
            refused("lacks the field \(field)") { _ = try manifest { $0[field] = nil } }
        }
    }

    func testTypesThatAreWrong() throws {
        let valid = try XCTUnwrap(JSONSerialization.jsonObject(with: manifestJSON()) as? [String: Any])
        for field in ["format", "file", "sha256", "source", "input", "outputs", "expected", "labels", "task"] {
            for wrong: Any in [7.5, true, [[[1]]], ["x": [1]]] {
                if wrong is [String: Any], ["input", "expected"].contains(field) { continue }
                refused("is not valid at \(field)") {
                    var fields = valid
                    fields[field] = wrong
                    _ = try Manifest(json: JSONSerialization.data(withJSONObject: fields), name: "x")
                }
            }
        }
    }

    func testNumbersThatAreTooLarge() {
        func input(_ key: String, _ value: Any) throws {
            _ = try manifest { fields in
                var input = fields["input"] as? [String: Any] ?? [:]
                input[key] = value
                fields["input"] = input
            }
        }
        refused("input.shape") { try input("shape", [1, 3, 1 << 20, 1 << 20]) }
        refused("input.shape") { try input("shape", [1, 3, -2, 2]) }
        refused("input.shape") { try input("shape", [1, 3, 0, 2]) }
        refused("input.shape") { try input("shape", [3, 2, 2]) }
        refused("The manifest") { try input("shape", [Double](repeating: 1e30, count: 4)) }
        refused("input.shape") { try input("shape", [Int](repeating: 1 << 31, count: 16)) }
        refused("input.std") { try input("std", [0, 1, 1]) }
        refused("input.mean") { try input("mean", [1]) }
        refused("input.channel_order") { try input("channel_order", "CMYK") }
    }

    func testAFileElsewhere() {
        for name in ["../m", "a/b", "", "..", "a\\b", "a\u{0}"] {
            refused("file name without a folder") { _ = try manifest { $0["file"] = name } }
        }
    }

    func testExpectedValuesThatDoNotFit() {
        func output(_ key: String, _ value: Any) throws {
            _ = try manifest { fields in
                var expected = fields["expected"] as? [String: Any] ?? [:]
                var outputs = expected["outputs"] as? [[String: Any]] ?? [[:]]
                outputs[0][key] = value
                expected["outputs"] = outputs
                fields["expected"] = expected
            }
        }
        refused("expected.outputs[0].values") { try output("values", "AAAA") }
        refused("expected.outputs[0].values") { try output("values", "no base64!") }
        refused("expected.outputs[0].scale") { try output("scale", 0.1) }
        refused("expected") { try output("name", "other") }
    }

    func testALayoutThatDoesNotFit() {
        for layout in ["NCH", "NCHC", "nchw", "NCHWNCHW"] {
            refused("layout") {
                _ = try manifest { try? withOutput(&$0, "logits", [1, 3, 2, 2], more: ["layout": layout]) }
            }
        }
    }
}
