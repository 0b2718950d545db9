import XCTest

@testable import MobileExportKit

/// On the vectors of `tests/vectors`, written from Pillow, timm, torchvision, torch and NumPy.
final class VectorTests: XCTestCase {
    struct Resizing: Decodable {
        let interpolation: String
        let picture: Packed
        let resized: Packed
    }

    func testResizeIsPillows() throws {
        for each in try vectors("resize", as: Resizing.self) + vectors("order", as: Resizing.self) {
            let wanted = try each.resized.picture
            let filter = Filter(word: each.interpolation)
            let got = try each.picture.picture.resized(width: wanted.width, height: wanted.height, filter: filter)
            XCTAssertEqual(got, wanted, "\(each.interpolation) \(each.picture.shape) to \(each.resized.shape)")
        }
    }

    struct Turning: Decodable {
        let orientation: Int
        let picture: Packed
        let upright: Packed
    }

    func testOrientation() throws {
        for each in try vectors("orientation", as: Turning.self) {
            let got = try each.picture.picture.upright(orientation: each.orientation)
            XCTAssertEqual(got, try each.upright.picture, "orientation \(each.orientation)")
        }
    }

    struct Preparing: Decodable {
        struct Rule: Decodable {
            let resize: [Int]
            let crop_mode: String
            let interpolation: String
        }
        let picture: Packed
        let size: [Int]
        let rule: Rule?
        let mean: [Double]
        let pixels: Packed
    }

    func testPrepareIsTimms() throws {
        for each in try vectors("prepare", as: Preparing.self) {
            let input = ModelInput(shape: [1, 3] + each.size, mean: each.mean, std: [1, 1, 1])
            let rule = each.rule.map {
                Preprocessing(resize: $0.resize, cropMode: $0.crop_mode, interpolation: $0.interpolation)
            }
            let got = try input.prepare(each.picture.picture, rule: rule)
            XCTAssertEqual(got.input, try each.pixels.picture, got.rule)
        }
    }

    struct Normalizing: Decodable {
        let pixels: Packed
        let channel_order: String
        let layout: String
        let inside: Bool
        let mean: [Double]
        let std: [Double]
        let values: Packed
    }

    func testNormalize() throws {
        for each in try vectors("normalize", as: Normalizing.self) {
            let manifest = try manifest { fields in
                let size = [each.mean.count] + each.pixels.shape.prefix(2)
                let model: [String: Any] = [
                    "shape": [1] + size, "mean": each.mean, "std": each.std, "channel_order": each.channel_order,
                ]
                fields["input"] = model
                let input: [String: Any] = [
                    "name": "image", "shape": each.values.shape, "dtype": "float32", "layout": each.layout,
                    "channel_order": each.channel_order,
                    "normalization": [
                        "inside": each.inside, "scale": 1.0 / 255, "mean": each.mean, "std": each.std,
                    ],
                ]
                let output: [String: Any] = ["name": "x", "shape": [1, 3], "dtype": "float32"]
                fields["interface"] = ["inputs": [input], "outputs": [output]]
            }
            let prepared = try manifest.input.prepare(each.pixels.picture, rule: nil)
            let got = try manifest.array(prepared)
            XCTAssertEqual(got.shape, each.values.shape)
            for (a, b) in zip(got.values, each.values.floats) { XCTAssertEqual(a, b, accuracy: 1e-6) }
        }
    }

    struct Classifying: Decodable {
        let logits: Packed
        let probabilities: Packed
        let best: Packed
    }

    func testClasses() throws {
        for each in try vectors("classes", as: Classifying.self) {
            let sure = softmax(each.logits.floats)
            for (a, b) in zip(sure, each.probabilities.floats) { XCTAssertEqual(a, Double(b), accuracy: 1e-7) }
            XCTAssertEqual(topK(sure), each.best.ints)
        }
    }

    struct Suppressing: Decodable {
        let boxes: Packed
        let scores: Packed
        let iou_threshold: Double
        let score_threshold: Double
        let limit: Int
        let kept_boxes: Packed
        let kept_scores: Packed
        let kept_classes: Packed
    }

    func testSuppressionIsTorchvisions() throws {
        for each in try vectors("suppression", as: Suppressing.self) {
            let got = try suppress(
                boxes: rows(each.boxes), scores: each.scores.floats, scoreThreshold: each.score_threshold,
                iouThreshold: each.iou_threshold, limit: each.limit)
            XCTAssertEqual(got.map(\.box), rows(each.kept_boxes))
            XCTAssertEqual(got.map(\.score), each.kept_scores.floats)
            XCTAssertEqual(got.map(\.index), each.kept_classes.ints)
        }
    }

    struct Placing: Decodable {
        let scale: [Double]
        let offset: [Int]
        let size: [Int]
        let boxes: Packed
        let photo: Packed
    }

    func testBoxesOfThePhoto() throws {
        for each in try vectors("boxes", as: Placing.self) {
            let placement = Placement(
                scale: (x: each.scale[0], y: each.scale[1]), offset: (x: each.offset[0], y: each.offset[1]))
            for (box, wanted) in zip(rows(each.boxes), rows(each.photo)) {
                let got = placement.toPicture(box, width: each.size[0], height: each.size[1])
                for (a, b) in zip(edges(got), edges(wanted)) { XCTAssertEqual(a, b, accuracy: 1e-4) }
            }
        }
    }

    struct Masking: Decodable {
        let logits: Packed
        let size: [Int]
        let labels: Packed
        let shares: [Double]
    }

    func testMasksAreUpsampledFirst() throws {
        for each in try vectors("masks", as: Masking.self) {
            let got = likeliest(try each.logits.tensor, width: each.size[1], height: each.size[0])
            XCTAssertEqual(got.map(Int.init), each.labels.ints)
            for (kind, share) in each.shares.enumerated() {
                XCTAssertEqual(Double(got.filter { $0 == kind }.count) / Double(got.count), share, accuracy: 1e-9)
            }
        }
    }

    struct Sampling: Decodable {
        let sample: String
        let shape: [Int]
        let sha256: String
        let first: Packed
    }

    func testSamplesAreNumPys() throws {
        for each in try vectors("samples", as: Sampling.self) {
            let values = try Noise.values(each.sample, count: each.shape.reduce(1, *))
            XCTAssertEqual(Array(values.prefix(12)), each.first.floats)
            XCTAssertEqual(SHA256.hash(values.littleEndian), each.sha256)
        }
    }

    struct Normals: Decodable {
        let values: [String]
    }

    func testNormalNumbersAreNumPysToTheLastBit() throws {
        for each in try vectors("normals", as: Normals.self) {
            var source = PCG64()
            XCTAssertEqual(each.values.map { _ in source.nextNormal() }, each.values.map { Double($0) ?? .nan })
        }
    }

    struct Comparing: Decodable {
        let count: Int
        let integer: Bool
        let scale: Double
        let values: Packed
        let got: Packed
        let error: Double
    }

    func testErrorOfAnOutput() throws {
        for each in try vectors("expected", as: Comparing.self) {
            let wanted = ExpectedOutput(
                name: "x", shape: [each.count], integer: each.integer, scale: each.scale, values: each.values.floats)
            XCTAssertEqual(wanted.error(of: try each.got.tensor), each.error, accuracy: 1e-12)
        }
    }

    struct Colouring: Decodable { let colours: Packed }

    func testColours() throws {
        for each in try vectors("colours", as: Colouring.self) {
            let got = (0..<each.colours.shape[0]).flatMap { index -> [UInt8] in
                let colour = Colour(ofClass: index)
                return [colour.red, colour.green, colour.blue]
            }
            XCTAssertEqual(got, each.colours.bytes)
        }
    }

    struct Timing: Decodable {
        let samples: Packed
        let p10: Double
        let median: Double
        let p90: Double
    }

    func testStatistics() throws {
        for each in try vectors("statistics", as: Timing.self) {
            let samples = each.samples.ints.map { UInt64($0) }
            for (share, wanted) in [(0.1, each.p10), (0.5, each.median), (0.9, each.p90)] {
                XCTAssertEqual(try XCTUnwrap(Statistics.percentile(samples, share)), wanted, accuracy: 1e-6 * wanted)
            }
        }
    }

    private func rows(_ packed: Packed) -> [Box] {
        let values = packed.floats.map(Double.init)
        return stride(from: 0, to: values.count, by: 4).map {
            Box(left: values[$0], top: values[$0 + 1], right: values[$0 + 2], bottom: values[$0 + 3])
        }
    }

    private func edges(_ box: Box) -> [Double] { [box.left, box.top, box.right, box.bottom] }
}
