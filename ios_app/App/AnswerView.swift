import MobileExportKit
import SwiftUI
import UIKit

/// What a model said of a picture, by its task.
struct AnswerView: View {
    let answer: Answer
    let prepared: Prepared

    var body: some View {
        VStack(alignment: .leading, spacing: 12) {
            switch answer.kind {
            case .classes(let found):
                PictureView(picture: prepared.picture)
                ForEach(found.indices, id: \.self) { Text("\(found[$0].title): \(percent(found[$0].score))") }
            case .objects(let found):
                PictureView(picture: prepared.picture, objects: found)
                if found.isEmpty { Text("Nothing was found.") }
                ForEach(found.indices.prefix(20), id: \.self) {
                    Text("\(found[$0].title): \(percent(found[$0].score))")
                }
            case .regions(let regions, let mask):
                ZStack {
                    PictureView(picture: prepared.input)
                    PictureView(picture: mask.painted()).opacity(0.55)
                }
                ForEach(regions.indices.prefix(12), id: \.self) { LegendRow(region: regions[$0]) }
            case .image(let image):
                HStack {
                    PictureView(picture: prepared.input)
                    PictureView(picture: image)
                }
                Text("\(prepared.input.width)x\(prepared.input.height) to \(image.width)x\(image.height)")
            case .map(let map):
                HStack {
                    PictureView(picture: prepared.input)
                    PictureView(picture: map)
                }
                Text("White is near or sure, relative to this picture.")
            case .tensors:
                PictureView(picture: prepared.input)
                Text("What the outputs mean is not known, or they cannot be that.")
            }
            ForEach(answer.results.indices, id: \.self) { Text(answer.results[$0].sentence).font(.caption) }
            Text("The picture was \(prepared.rule).").font(.caption).foregroundStyle(.secondary)
        }
    }

    private func percent(_ share: Double) -> String { String(format: "%.1f %%", 100 * share) }
}

/// A class of a mask: its colour, name and share.
private struct LegendRow: View {
    let region: Region

    var body: some View {
        HStack {
            Rectangle().fill(region.colour.swiftUI).frame(width: 18, height: 18)
            Text("\(region.title): \(String(format: "%.1f %%", 100 * region.share))")
        }
    }
}

/// A picture, with boxes of objects on it, the surest on top.
struct PictureView: View {
    let picture: Picture
    var objects: [Found] = []

    var body: some View {
        if let image = try? picture.cgImage() {
            Image(decorative: image, scale: 1)
                .resizable()
                .scaledToFit()
                .overlay {
                    Canvas { context, size in
                        for each in objects.reversed() { draw(each, context, size) }
                    }
                }
        } else {
            Text("There is not enough memory for this picture.")
        }
    }

    private func draw(_ found: Found, _ context: GraphicsContext, _ size: CGSize) {
        guard let box = found.box else { return }
        let (x, y) = (size.width / Double(picture.width), size.height / Double(picture.height))
        let frame = CGRect(
            x: box.left * x, y: box.top * y, width: (box.right - box.left) * x, height: (box.bottom - box.top) * y)
        context.stroke(Path(frame), with: .color(Colour(ofClass: max(0, found.index)).swiftUI), lineWidth: 2)
        let text = Text("\(found.title) \(Int((100 * found.score).rounded())) %").font(.caption)
        context.draw(text, at: CGPoint(x: frame.minX, y: frame.minY), anchor: .bottomLeading)
    }
}

extension Colour {
    var swiftUI: Color {
        Color(red: Double(red) / 255, green: Double(green) / 255, blue: Double(blue) / 255)
    }
}
