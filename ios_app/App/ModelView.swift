import MobileExportKit
import PhotosUI
import SwiftUI

/// One model: a photo or the camera, the answer, Check and Benchmark.
struct ModelView: View {
    @StateObject private var session: ModelSession
    @StateObject private var camera = Camera()
    @State private var item: PhotosPickerItem?

    init(file: ModelFile) {
        _session = StateObject(wrappedValue: ModelSession(file: file))
    }

    var body: some View {
        ScrollView {
            VStack(alignment: .leading, spacing: 16) {
                Picker("Compute units", selection: $session.units) {
                    ForEach(Units.allCases) { Text($0.rawValue).tag($0) }
                }
                HStack {
                    PhotosPicker("Photo", selection: $item, matching: .images)
                    Button(camera.isRunning ? "Stop" : "Camera") { toggle() }
                    Button("Check") { session.check() }
                    Button("Benchmark") { session.benchmark() }
                }
                .disabled(session.isBusy && !camera.isRunning)
                if session.isBusy { ProgressView(session.doing) }
                if let problem = session.problem ?? camera.problem { Text(problem).foregroundStyle(.red) }
                if let record = session.record { ShareLink("Save the record", item: record) }
                ForEach(session.lines, id: \.self) { Text($0) }
                if let shown = session.shown { AnswerView(answer: shown.answer, prepared: shown.prepared) }
            }
            .padding()
        }
        .navigationTitle(session.file.title)
        .onChange(of: item) { picked in
            guard let picked else { return }
            Task { await session.open(picked) }
        }
        .onDisappear { camera.stop() }
    }

    private func toggle() {
        if camera.isRunning {
            camera.stop()
        } else {
            camera.start { frame in session.answer(frame) }
        }
    }
}

/// What the screen of a model shows. Core ML works on a queue of its own, one thing after the other.
@MainActor
final class ModelSession: ObservableObject {
    let file: ModelFile
    @Published var units = Units.all
    @Published private(set) var shown: (answer: Answer, prepared: Prepared)?
    @Published private(set) var lines: [String] = []
    @Published private(set) var record: URL?
    @Published private(set) var problem: String?
    @Published private(set) var doing = ""
    @Published private(set) var isBusy = false
    private var loaded: [Units: CoreMLModel] = [:]

    init(file: ModelFile) {
        self.file = file
    }

    func open(_ item: PhotosPickerItem) async {
        await work("Opening the photo") {
            guard let data = try await item.loadTransferable(type: Data.self) else {
                throw KitError("The photo could not be read. It may have to be downloaded first.")
            }
            let picture = try await Self.apart { try Photos.decode(data, name: "The photo") }
            try await self.show(picture)
        }
    }

    /// A frame of the camera; one that comes while the last is worked on is dropped.
    func answer(_ picture: Picture) {
        if isBusy { return }
        Task { await work("") { try await self.show(picture) } }
    }

    func check() {
        Task {
            await work("Checking") {
                let model = try await self.model(self.units)
                let result = try await Self.apart { try model.check() }
                self.lines = [result.sentence, await model.placement()]
            }
        }
    }

    func benchmark() {
        Task {
            await work("Benchmark") {
                var entries: [BenchmarkEntry] = []
                for units in Units.allCases {
                    let model = try await self.model(units)
                    entries.append(try await Self.apart { try model.entry(units) })
                }
                let measured = entries
                let said: @Sendable (String) -> Void = { line in Task { @MainActor in self.doing = line } }
                let timings = try await Self.apart { Benchmark().measure(measured, said: said) }
                self.lines = timings.map(\.sentence)
                self.record = try Device.save(timings)
            }
        }
    }

    private func show(_ picture: Picture) async throws {
        let model = try await model(units)
        shown = try await Self.apart { try model.answer(picture) }
    }

    private func model(_ units: Units) async throws -> CoreMLModel {
        if let known = loaded[units] { return known }
        let model = try await CoreMLModel.load(file, units: units.value)
        loaded[units] = model
        return model
    }

    private func work(_ what: String, _ action: @escaping () async throws -> Void) async {
        if isBusy { return }
        (isBusy, doing) = (true, what)
        defer { isBusy = false }
        do {
            try await action()
            problem = nil
        } catch {
            problem = error.localizedDescription
        }
    }

    /// Runs something long beside the main thread.
    private static func apart<T>(_ action: @escaping () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<T, any Error>) in
            queue.async { done.resume(with: Result(catching: action)) }
        }
    }

    private static let queue = DispatchQueue(label: "dev.mobileexport.model", qos: .userInitiated)
}

extension CoreMLModel {
    /// For the benchmark: the manifest's input, made once; checked first.
    func entry(_ units: Units) throws -> BenchmarkEntry {
        let features = try input(try timedInput())
        return BenchmarkEntry(
            manifest: manifest, backend: units.rawValue, loadNanoseconds: loadNanoseconds, check: try? check()
        ) {
            _ = try self.run(features)
        }
    }

    /// A grey picture, for files whose expected input cannot be given to them.
    private func timedInput() throws -> Prepared {
        let grey = try Picture(width: 1, height: 1, pixels: [128, 128, 128])
        return try manifest.input.prepare(grey, rule: nil)
    }
}
