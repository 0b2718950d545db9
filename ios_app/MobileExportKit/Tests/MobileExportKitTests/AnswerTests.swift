import XCTest

@testable import MobileExportKit

final class AnswerTests: XCTestCase {
    private func answer(
        _ meaning: String, _ shape: [Int], _ values: [Float], labels: [String]? = nil, more: [String: Any] = [:]
    ) throws -> Answer {
        let manifest = try manifest { fields in
            try? withOutput(&fields, meaning, shape, more: more)
            if let labels { fields["labels"] = labels }
        }
        return try manifest.answer(["var_1": Tensor(shape: shape, values: values)], prepared(manifest))
    }

    private func prepared(_ manifest: Manifest) throws -> Prepared {
        let photo = try Picture(width: 4, height: 4, pixels: [UInt8](repeating: 100, count: 48))
        return try manifest.input.prepare(photo, rule: nil)
    }

    func testLogitsGetASoftmaxAndProbabilitiesNone() throws {
        guard case .classes(let found) = try answer("logits", [1, 3], [0, 2, 1]).kind else { return XCTFail() }
        XCTAssertEqual(found.map(\.name), ["dog", "cow", "cat"])
        XCTAssertEqual(found[0].score, 0.6652409557748218, accuracy: 1e-9)
        guard case .classes(let sure) = try answer("probabilities", [1, 3], [0.25, 0.5, 0.25]).kind else {
            return XCTFail()
        }
        XCTAssertEqual(sure[0].score, 0.5)
    }

    func testLabelsThatAreFewerThanClasses() throws {
        let answer = try answer("logits", [1, 3], [0, 1, 5], labels: ["cat"])
        guard case .classes(let found) = answer.kind else { return XCTFail() }
        XCTAssertEqual(found.map(\.title), ["class 2", "class 1", "cat"])
    }

    func testMapsOfClasses() throws {
        var logits = [Float](repeating: 0, count: 12)
        logits[4...7] = [9, 9, 0, 0]  // class 1 in the upper row
        guard case .regions(let regions, let mask) = try answer("logits", [1, 3, 2, 2], logits).kind else {
            return XCTFail()
        }
        XCTAssertEqual(mask.labels, [1, 1, 0, 0])
        XCTAssertEqual(regions.map(\.share), [0.5, 0.5])
        XCTAssertEqual(
            mask.painted().pixels.prefix(3),
            [Colour(ofClass: 1).red, Colour(ofClass: 1).green, Colour(ofClass: 1).blue])
        guard case .regions(let named, _) = try answer("labels", [1, 2, 2], [0, 0, 0, 7]).kind else { return XCTFail() }
        XCTAssertEqual(named.map(\.title), ["cat", "class 7"])
    }

    func testPictures() throws {
        guard case .image(let image) = try answer("upscaled", [1, 3, 1, 2], [0, 1, 0.5, 2, -1, 0]).kind else {
            return XCTFail()
        }
        XCTAssertEqual(image.pixels, [0, 128, 0, 255, 255, 0])
        guard case .map(let near) = try answer("disparity", [1, 1, 2, 2], [1, 2, 3, 5]).kind else { return XCTFail() }
        XCTAssertEqual(near.pixels, [0, 64, 128, 255])
        guard case .map(let depth) = try answer("depth", [1, 2, 2], [1, 1, 1, 1]).kind else { return XCTFail() }
        XCTAssertEqual(depth.pixels, [255, 255, 255, 255])
        guard case .map(let sure) = try answer("probabilities", [1, 1, 1, 2], [0.5, 7]).kind else { return XCTFail() }
        XCTAssertEqual(sure.pixels, [128, 255])
    }

    /// Numbers that cannot be what the manifest says are shown as numbers.
    func testWhatCannotBe() throws {
        let cases: [(String, [Int], [Float])] = [
            ("logits", [1, 3], [.nan, 0, 0]), ("logits", [3], [1, 2, 3]), ("labels", [1, 1, 2], [-1, 0]),
            ("labels", [1, 1, 2], [0.5, 0]), ("labels", [1, 1, 2], [1e9, 0]), ("upscaled", [1, 2, 1, 1], [0, 0]),
            ("boxes", [1, 1, 4], [0, 0, 1, 1]), ("depth", [2, 2], [0, 0, 0, 0]), ("embedding", [1, 2], [3, 4]),
        ]
        for (meaning, shape, values) in cases {
            let got = try answer(meaning, shape, values)
            XCTAssertEqual(got.kind, .tensors, meaning)
            XCTAssertTrue(got.results[0].sentence.hasPrefix("out: "), got.results[0].sentence)
        }
    }

    func testAnOutputThatIsMissing() throws {
        let manifest = try manifest { try? withOutput(&$0, "logits", [1, 3]) }
        let got = try manifest.answer(["other": Tensor(shape: [1], values: [1])], prepared(manifest))
        XCTAssertEqual(got.kind, .tensors)
        XCTAssertEqual(try manifest.check(["other": Tensor(shape: [1], values: [1])], precision: "fp32").passed, false)
    }

    func testChannelsLast() throws {
        let manifest = try manifest {
            try? withOutput(&$0, "logits", [1, 3, 2, 2], more: ["layout": "NHWC", "shape": [1, 2, 2, 3]])
        }
        let values = (0..<12).map { $0 % 3 == $0 / 3 % 3 ? Float(1) : 0 }
        let got = try manifest.answer(["var_1": Tensor(shape: [1, 2, 2, 3], values: values)], prepared(manifest))
        guard case .regions(_, let mask) = got.kind else { return XCTFail() }
        XCTAssertEqual(mask.labels, [0, 1, 2, 0])
    }

    /// Core ML's suppression: a row of scores for each box; centre and size, of an image of size 1.
    func testDetectionsOfAFileThatSuppresses() throws {
        let manifest = try manifest { fields in
            fields["nms"] = ["iou_threshold": 0.5, "score_threshold": 0.1, "labels": ["person", "car"]]
            let input: [String: Any] = ["name": "image", "shape": [1, 3, 2, 2], "dtype": "float32", "layout": "NCHW"]
            let order = ["centre x", "centre y", "width", "height"]
            fields["interface"] = [
                "inputs": [input],
                "outputs": [
                    [
                        "name": "coordinates", "shape": [NSNull(), 4], "dtype": "float32", "meaning": "boxes",
                        "box": ["order": order, "unit": "image"],
                    ],
                    ["name": "confidence", "shape": [NSNull(), 2], "dtype": "float32", "meaning": "scores"],
                ],
            ]
        }
        let outputs = [
            "coordinates": try Tensor(shape: [2, 4], values: [0.5, 0.5, 0.5, 1, 0, 0, 0, 0]),
            "confidence": try Tensor(shape: [2, 2], values: [0.25, 0.75, 0, 0]),
        ]
        guard case .objects(let found) = try manifest.answer(outputs, prepared(manifest)).kind else { return XCTFail() }
        XCTAssertEqual(found.map(\.name), ["car"])
        XCTAssertEqual(found[0].box, Box(left: 1, top: 0, right: 3, bottom: 4))
        refused("ends with detections") { _ = try manifest.expectedInput() }
    }

    func testTheExpectedInputAsAnImage() throws {
        let manifest = try manifest { try? withOutput(&$0, "logits", [1, 3]) }
        let sample = try Tensor(shape: [1, 3, 2, 2], values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255])
        XCTAssertEqual(try manifest.pixels(sample).pixels, [1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 255])
        refused("takes an image") {
            _ = try manifest.pixels(Tensor(shape: [1, 3, 2, 2], values: [Float](repeating: 0.5, count: 12)))
        }
    }

    func testTheCheck() throws {
        let manifest = try manifest()
        let near = try manifest.check(["logits": Tensor(shape: [1, 3], values: [1, -2.01, 0.5])], precision: "fp16")
        XCTAssertTrue(near.passed)
        XCTAssertEqual(near.error, 0.005, accuracy: 1e-6)
        XCTAssertTrue(
            near.sentence.hasPrefix("Passed: the largest error is 0.005 of the size of logits"), near.sentence)
        let far = try manifest.check(["logits": Tensor(shape: [1, 3], values: [1, -2.01, 0.5])], precision: "fp32")
        XCTAssertTrue(far.sentence.hasPrefix("FAILED"))
        let shape = try manifest.check(["logits": Tensor(shape: [1, 2], values: [1, -2])], precision: "fp32")
        XCTAssertFalse(shape.passed)
        refused("to the last bit") { _ = try manifest.expectedInput() }
    }
}
