import XCTest

@testable import MobileExportKit

final class ModelFolderTests: XCTestCase {
    private var folder = URL(fileURLWithPath: "/")

    override func setUpWithError() throws { folder = try temporaryFolder() }
    override func tearDownWithError() throws { try FileManager.default.removeItem(at: folder) }

    private func write(_ name: String, _ content: String, in place: URL? = nil, format: String = "coreml") throws -> URL
    {
        let file = (place ?? folder).appendingPathComponent(name)
        try Data(content.utf8).write(to: file)
        let json = try manifestJSON { fields in
            fields["file"] = name
            fields["format"] = format
            fields["bytes"] = content.utf8.count
            fields["sha256"] = SHA256.hash(content.utf8)
        }
        try json.write(to: (place ?? folder).appendingPathComponent(name + ModelFile.manifestSuffix))
        return file
    }

    func testAFileAndItsManifest() throws {
        let file = try write("a.mlmodel", "weights")
        try ModelFile(file, engines: ["coreml"]).verify()
    }

    func testATruncatedModel() throws {
        let file = try write("a.mlmodel", "weights")
        try Data("weig".utf8).write(to: file)
        refused("a.mlmodel has 4 bytes, and its manifest says 7: it is incomplete") {
            try ModelFile(file, engines: ["coreml"]).verify()
        }
        try Data("WEIGHTS".utf8).write(to: file)
        refused("its SHA-256 differs") { try ModelFile(file, engines: ["coreml"]).verify() }
    }

    func testWithoutManifestOrFileOrEngine() throws {
        let alone = folder.appendingPathComponent("b.mlmodel")
        try Data("x".utf8).write(to: alone)
        refused("b.mlmodel has no manifest (b.mlmodel.manifest.json)") { _ = try ModelFile(alone, engines: ["coreml"]) }
        let gone = try write("c.mlmodel", "x")
        try FileManager.default.removeItem(at: gone)
        refused("is not there") { _ = try ModelFile(gone, engines: ["coreml"]) }
        let other = try write("d.tflite", "x", format: "tflite")
        refused("is a file for tflite; this app executes coreml") { _ = try ModelFile(other, engines: ["coreml"]) }
        let listed = ModelFile.list([folder], engines: ["coreml"])
        XCTAssertEqual(listed.models.count, 0)
        XCTAssertEqual(listed.problems.count, 2)
    }

    func testTwoFilesOfOneName() throws {
        let second = try temporaryFolder()
        defer { try? FileManager.default.removeItem(at: second) }
        _ = try write("a.mlmodel", "one")
        let file = try write("a.mlmodel", "two", in: second)
        let listed = ModelFile.list([folder, second], engines: ["coreml"])
        XCTAssertEqual(listed.models.map(\.title), ["a.mlmodel", "a.mlmodel (2)"])
        let manifest = second.appendingPathComponent("a.mlmodel" + ModelFile.manifestSuffix)
        let store = folder.appendingPathComponent("store")
        let copies = try (0..<2).flatMap { _ in try ModelFile.adopt([file, manifest], into: store) }
        XCTAssertEqual(Set(copies).count, 2)
        for copy in copies { try ModelFile(copy, engines: ["coreml"]).verify() }
    }

    func testPickingOneOfTheTwo() throws {
        let file = try write("a.mlmodel", "one")
        let manifest = folder.appendingPathComponent("a.mlmodel" + ModelFile.manifestSuffix)
        refused("a.mlmodel came without its manifest") { _ = try ModelFile.adopt([file], into: folder) }
        refused("came without its file") { _ = try ModelFile.adopt([manifest], into: folder) }
    }

    /// A package of mobile-export, as Python hashes it; written by the test that runs these.
    func testAPackageOfMobileExport() throws {
        guard let given = ProcessInfo.processInfo.environment["MOBILE_EXPORT_PACKAGE"] else {
            throw XCTSkip("MOBILE_EXPORT_PACKAGE names none")
        }
        let model = try ModelFile(URL(fileURLWithPath: given), engines: ["coreml"])
        try model.verify()
        let input = try model.manifest.expectedInput()
        XCTAssertEqual(input.values.count, model.manifest.input.shape.reduce(1, *))
    }

    func testSHA256OfFIPS180() {
        XCTAssertEqual(SHA256.hash("".utf8), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        XCTAssertEqual(SHA256.hash("abc".utf8), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        var digest = SHA256()
        for _ in 0..<1000 { digest.update([UInt8](repeating: 0x61, count: 1000)) }
        XCTAssertEqual(digest.finish(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }
}
