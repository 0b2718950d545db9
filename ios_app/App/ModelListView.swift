import MobileExportKit
import SwiftUI
import UniformTypeIdentifiers

/// The models in the app and those that the user picked; what cannot be used is said in a sentence.
struct ModelListView: View {
    @State private var models: [ModelFile] = []
    @State private var problems: [String] = []
    @State private var picking = false

    var body: some View {
        NavigationStack {
            List {
                ForEach(models) { model in
                    NavigationLink {
                        ModelView(file: model)
                    } label: {
                        VStack(alignment: .leading) {
                            Text(model.title)
                            Text(subtitle(model.manifest)).font(.caption).foregroundStyle(.secondary)
                        }
                    }
                }
                ForEach(problems, id: \.self) { Text($0).foregroundStyle(.red) }
                if models.isEmpty {
                    Text("No models. Pick a file of mobile-export coreml together with its manifest.")
                }
            }
            .navigationTitle("mobile-export")
            .toolbar { Button("Pick") { picking = true } }
            .fileImporter(
                isPresented: $picking, allowedContentTypes: [.item, .package], allowsMultipleSelection: true
            ) { adopt($0) }
            .task { reload() }
        }
    }

    private func subtitle(_ manifest: Manifest) -> String {
        let size = manifest.input.shape.suffix(2).map(String.init).joined(separator: "x")
        return "\(manifest.task ?? "numbers") at \(size), \(manifest.precision). \(manifest.weights ?? "")"
    }

    private func reload() {
        (models, problems) = ModelFile.list(Storage.folders(), engines: [CoreMLModel.format])
    }

    private func adopt(_ picked: Result<[URL], any Error>) {
        do {
            let urls = try picked.get()
            let opened = urls.filter { $0.startAccessingSecurityScopedResource() }
            defer { for url in opened { url.stopAccessingSecurityScopedResource() } }
            _ = try ModelFile.adopt(urls, into: Storage.picked)
            reload()
        } catch {
            reload()
            problems.append(error.localizedDescription)
        }
    }
}

/// Where models lie.
enum Storage {
    /// Of the app: Xcode copies the folder Models as it is.
    static var bundled: URL { Bundle.main.bundleURL.appendingPathComponent("Models") }
    /// Of the user: a folder for each model.
    static var picked: URL {
        FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask)[0]
            .appendingPathComponent("Models")
    }

    static func folders() -> [URL] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: picked.path)) ?? []
        return [bundled] + names.sorted().map { picked.appendingPathComponent($0) }
    }
}
