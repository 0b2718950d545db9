import Foundation

/// A model that the app can list: a file and the manifest beside it.
public struct ModelFile: Identifiable, Sendable {
    /// The file or folder.
    public let url: URL
    public let manifest: Manifest
    /// For the list, different for two files of one name.
    public let title: String

    public var id: URL { url }

    /// The manifest of `NAME` is `NAME.manifest.json`.
    public static let manifestSuffix = ".manifest.json"

    /// - Parameter engines: formats that the app can execute.
    /// - Throws: `KitError`: it has no manifest, or one that does not fit, or no engine here executes it.
    public init(_ url: URL, engines: [String], title: String? = nil) throws {
        let name = url.lastPathComponent
        let place = url.deletingLastPathComponent().appendingPathComponent(name + ModelFile.manifestSuffix)
        guard FileManager.default.fileExists(atPath: place.path) else {
            throw KitError("\(name) has no manifest (\(place.lastPathComponent)). Copy both, side by side.")
        }
        guard let size = try? place.resourceValues(forKeys: [.fileSizeKey]).fileSize, size <= Manifest.mostBytes,
            let data = try? Data(contentsOf: place)
        else { throw KitError("The manifest \(place.lastPathComponent) cannot be read, or is too large.") }
        let manifest = try Manifest(json: data, name: place.lastPathComponent)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw KitError("\(name), which the manifest \(place.lastPathComponent) is of, is not there. Copy both.")
        }
        guard engines.contains(manifest.format) else {
            throw KitError(
                "\(name) is a file for \(manifest.format.prefix(60)); this app executes "
                    + "\(engines.joined(separator: ", ")).")
        }
        self.url = url
        self.manifest = manifest
        self.title = title ?? name
    }

    /// Reads the whole file and compares it with the manifest.
    ///
    /// - Throws: `KitError`: it is truncated, or another file.
    public func verify() throws {
        let name = url.lastPathComponent
        let files = try Contents(url)
        if manifest.bytes > 0, files.bytes != manifest.bytes {
            let size = "\(name) has \(grouped(files.bytes)) bytes, and its manifest says \(grouped(manifest.bytes))"
            throw KitError(size + (files.bytes < manifest.bytes ? ": it is incomplete." : ".") + " Copy it again.")
        }
        if try files.sha256() != manifest.sha256 {
            throw KitError("\(name) is not the file that its manifest is of: its SHA-256 differs. Copy both again.")
        }
    }

    /// The models in folders, and a sentence for each that cannot be used. Of two with one name, the later one
    /// is listed with a number.
    public static func list(_ folders: [URL], engines: [String]) -> (models: [ModelFile], problems: [String]) {
        var models: [ModelFile] = []
        var problems: [String] = []
        var names: [String: Int] = [:]
        for folder in folders {
            let found = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
            for manifest in found.sorted() where manifest.hasSuffix(manifestSuffix) {
                let name = String(manifest.dropLast(manifestSuffix.count))
                names[name, default: 0] += 1
                let count = names[name, default: 1]
                do {
                    let title = count == 1 ? name : "\(name) (\(count))"
                    models.append(try ModelFile(folder.appendingPathComponent(name), engines: engines, title: title))
                } catch {
                    problems.append(error.localizedDescription)
                }
            }
        }
        return (models, problems)
    }

    /// Copies picked files into a folder of the app: each artifact beside its manifest, in a folder of its own
    /// where one of that name is there already.
    ///
    /// - Returns: the artifacts.
    /// - Throws: `KitError`: one has no partner among them, or copying failed; nothing is left of it then.
    public static func adopt(_ picked: [URL], into folder: URL) throws -> [URL] {
        let files = FileManager.default
        let manifests = picked.filter { $0.lastPathComponent.hasSuffix(manifestSuffix) }
        let others = picked.filter { !$0.lastPathComponent.hasSuffix(manifestSuffix) }
        let partners = Dictionary(manifests.map { ($0.lastPathComponent, $0) }) { first, _ in first }
        var pairs: [(URL, URL)] = []
        for file in others {
            let wanted = file.lastPathComponent + manifestSuffix
            guard let manifest = partners[wanted] else {
                throw KitError("\(file.lastPathComponent) came without its manifest. Pick it together with \(wanted).")
            }
            pairs.append((file, manifest))
        }
        let names = Set(others.map { $0.lastPathComponent + manifestSuffix })
        if let alone = manifests.map(\.lastPathComponent).first(where: { !names.contains($0) }) {
            throw KitError(
                "\(alone) came without its file. Pick it together with \(alone.dropLast(manifestSuffix.count)).")
        }
        return try pairs.map { file, manifest in
            let own = folder.appendingPathComponent(UUID().uuidString)
            let target = own.appendingPathComponent(file.lastPathComponent)
            do {
                try files.createDirectory(at: own, withIntermediateDirectories: true)
                try files.copyItem(at: file, to: target)
                try files.copyItem(at: manifest, to: own.appendingPathComponent(manifest.lastPathComponent))
            } catch {
                try? files.removeItem(at: own)
                throw KitError("\(file.lastPathComponent) could not be copied: \(error.localizedDescription)")
            }
            return target
        }
    }
}

/// A file, or every file of a folder, with what the manifest's SHA-256 is of.
private struct Contents {
    let root: URL
    /// Relative names, sorted part by part; empty of a file.
    let names: [String]
    let bytes: Int

    init(_ url: URL) throws {
        root = url
        let files = FileManager.default
        var isFolder: ObjCBool = false
        guard files.fileExists(atPath: url.path, isDirectory: &isFolder) else {
            throw KitError("\(url.lastPathComponent) is not there.")
        }
        guard isFolder.boolValue else {
            names = []
            bytes = try Contents.size(url)
            return
        }
        let all = (try? files.subpathsOfDirectory(atPath: url.path)) ?? []
        var kept: [(parts: [[UInt32]], name: String)] = []
        var total = 0
        for name in all {
            let file = url.appendingPathComponent(name)
            let type = try? files.attributesOfItem(atPath: file.path)[.type] as? FileAttributeType
            if type == .typeSymbolicLink { throw KitError("\(url.lastPathComponent) has a link inside: \(name).") }
            guard type == .typeRegular else { continue }
            total += try Contents.size(file)
            kept.append((name.split(separator: "/").map { $0.unicodeScalars.map(\.value) }, name))
        }
        kept.sort { a, b in
            let (left, right) = (a.parts, b.parts)
            for (x, y) in zip(left, right) where x != y { return x.lexicographicallyPrecedes(y) }
            return left.count < right.count
        }
        names = kept.map(\.name)
        bytes = total
    }

    private static func size(_ url: URL) throws -> Int {
        let size = try? FileManager.default.attributesOfItem(atPath: url.path)[.size] as? NSNumber
        guard let size else { throw KitError("\(url.lastPathComponent) cannot be read.") }
        return size.intValue
    }

    func sha256() throws -> String {
        var digest = SHA256()
        if names.isEmpty { try add(root, to: &digest) }
        for name in names {
            digest.update(Array(name.utf8) + [0])
            try add(root.appendingPathComponent(name), to: &digest)
        }
        return digest.finish()
    }

    private func add(_ file: URL, to digest: inout SHA256) throws {
        guard let stream = try? FileHandle(forReadingFrom: file) else {
            throw KitError("\(file.lastPathComponent) cannot be read.")
        }
        defer { try? stream.close() }
        while let part = try? stream.read(upToCount: 1 << 20), !part.isEmpty { digest.update(part) }
    }
}
