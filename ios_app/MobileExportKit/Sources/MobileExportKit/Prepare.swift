import Foundation

/// Where the input lies in the picture: picture = (input + offset) / scale, in pixels.
public struct Placement: Equatable, Sendable {
    /// Of x and y, from the picture to the resized one.
    public let scale: (x: Double, y: Double)
    /// Of the input's left upper corner in the resized picture; negative where it was filled up.
    public let offset: (x: Int, y: Int)

    public init(scale: (x: Double, y: Double), offset: (x: Int, y: Int)) {
        self.scale = scale
        self.offset = offset
    }

    public static func == (a: Placement, b: Placement) -> Bool {
        a.scale == b.scale && a.offset == b.offset
    }

    /// A box in pixels of the input, in pixels of the picture, cut at its edges.
    public func toPicture(_ box: Box, width: Int, height: Int) -> Box {
        func x(_ edge: Double) -> Double { min(max((edge + Double(offset.x)) / scale.x, 0), Double(width)) }
        func y(_ edge: Double) -> Double { min(max((edge + Double(offset.y)) / scale.y, 0), Double(height)) }
        return Box(left: x(box.left), top: y(box.top), right: x(box.right), bottom: y(box.bottom))
    }
}

/// A picture, ready for the model.
public struct Prepared: Sendable {
    /// Upright, at its own size.
    public let picture: Picture
    /// What the model sees, at the size of its input.
    public let input: Picture
    public let placement: Placement
    /// How it was made, in words.
    public let rule: String
}

extension ModelInput {
    public var height: Int { shape[shape.count - 2] }
    public var width: Int { shape[shape.count - 1] }
    public var channels: Int { shape[1] }

    /// Resizes and crops an upright picture, by the rules of timm's evaluation transforms; without a rule,
    /// the whole picture is stretched to the input's size, bilinear.
    ///
    /// - Throws: `KitError`: the model takes no picture, or the picture would become too large.
    public func prepare(_ picture: Picture, rule: Preprocessing?) throws -> Prepared {
        guard shape.count == 4, channels == 1 || channels == 3 else {
            let what = shape.count == 5 ? "clips" : "\(channels) channels"
            throw KitError("The model takes \(what); a picture is none.")
        }
        let plain = channels == 1 ? picture.grey() : picture.colours()
        let (resized, said) = try resize(plain, rule)
        let offset = (x: middle(resized.width, width), y: middle(resized.height, height))
        let input = try cut(resized, offset, filled: rule?.cropMode == "border")
        let scale = (
            x: Double(resized.width) / Double(picture.width),
            y: Double(resized.height) / Double(picture.height)
        )
        return Prepared(
            picture: picture, input: input, placement: Placement(scale: scale, offset: offset), rule: said)
    }

    private func resize(_ picture: Picture, _ rule: Preprocessing?) throws -> (Picture, String) {
        guard let rule else {
            let said = "stretched to \(width)x\(height) (no rule is known)"
            return (try picture.resized(width: width, height: height, filter: .bilinear), said)
        }
        let (w, h) = rule.size(of: picture)
        guard elementCount([w, h], most: Picture.mostPixels) != nil else {
            throw KitError(
                "A picture of \(picture.width)x\(picture.height) would be resized to \(w)x\(h). "
                    + "Crop it: one side is far longer than the other.")
        }
        let said =
            "resized to \(w)x\(h) (\(rule.interpolation)), middle \(width)x\(height) "
            + "(\(rule.cropMode)); \(rule.source)"
        return (try picture.resized(width: w, height: h, filter: Filter(word: rule.interpolation)), said)
    }

    /// Where the middle begins, as torchvision's CenterCrop cuts and fills up.
    private func middle(_ have: Int, _ want: Int) -> Int {
        have >= want ? Int((Double(have - want) / 2).rounded(.toNearestOrEven)) : -((want - have) / 2)
    }

    private func cut(_ resized: Picture, _ offset: (x: Int, y: Int), filled: Bool) throws -> Picture {
        try Picture.checkSize(width, height)
        let fill = mean.map { filled ? UInt8((255 * min(max($0, 0), 1)).rounded(.toNearestOrEven)) : 0 }
        var made: [UInt8] = []
        made.reserveCapacity(width * height * channels)
        for y in offset.y..<offset.y + height {
            for x in offset.x..<offset.x + width {
                if (0..<resized.width).contains(x), (0..<resized.height).contains(y) {
                    let from = (y * resized.width + x) * channels
                    made += resized.pixels[from..<from + channels]
                } else {
                    made += fill
                }
            }
        }
        return try Picture(width: width, height: height, channels: channels, pixels: made)
    }
}

extension Preprocessing {
    /// Width and height to resize to: torchvision's Resize, or timm's ResizeKeepRatio.
    func size(of picture: Picture) -> (Int, Int) {
        let (wantH, wantW) = (resize[0], resize[1])
        if cropMode == "squash" { return (wantW, wantH) }
        let (w, h) = (Double(picture.width), Double(picture.height))
        if cropMode == "center" && wantW == wantH {
            let longer = Int(Double(wantW) * max(w, h) / min(w, h))
            return w <= h ? (wantW, longer) : (longer, wantW)
        }
        let ratios = (h / Double(wantH), w / Double(wantW))
        let ratio = cropMode == "border" ? max(ratios.0, ratios.1) : min(ratios.0, ratios.1)
        func side(_ have: Double) -> Int { max(1, Int((have / ratio).rounded(.toNearestOrEven))) }
        return (side(w), side(h))
    }
}

/// An array: `values` in the order of `shape`, the last axis fastest.
public struct Tensor: Equatable, Sendable {
    public let shape: [Int]
    public let values: [Float]

    /// - Throws: `KitError`: there are not as many values as the shape says.
    public init(shape: [Int], values: [Float]) throws {
        guard elementCount(shape, most: 1 << 31) == values.count else {
            throw KitError("An array of shape \(shape) cannot have \(grouped(values.count)) numbers.")
        }
        self.shape = shape
        self.values = values
    }

    init(trusted shape: [Int], _ values: [Float]) {
        self.shape = shape
        self.values = values
    }

    /// With the axes named by the letters of `from` in the order of `to`.
    func arranged(from: String, to: String) -> Tensor {
        if from == to || from.count != shape.count { return self }
        let order = to.compactMap { letter in from.firstIndex(of: letter) }
            .map { from.distance(from: from.startIndex, to: $0) }
        if order.count != shape.count { return self }
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in stride(from: shape.count - 2, through: 0, by: -1) {
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        }
        let (sizes, steps) = (order.map { shape[$0] }, order.map { strides[$0] })
        var made: [Float] = []
        made.reserveCapacity(values.count)
        var index = [Int](repeating: 0, count: sizes.count)
        var from = 0
        for _ in 0..<values.count {
            made.append(values[from])
            for axis in stride(from: sizes.count - 1, through: 0, by: -1) {
                index[axis] += 1
                from += steps[axis]
                if index[axis] < sizes[axis] { break }
                from -= steps[axis] * sizes[axis]
                index[axis] = 0
            }
        }
        return Tensor(trusted: sizes, made)
    }
}

extension Manifest {
    /// The file's input that takes the picture.
    public var picture: FileInput? {
        interface?.inputs.first { $0.image || $0.layout != nil } ?? interface?.inputs.first
    }

    /// The array that the file takes for a prepared picture: channel order, mean and std, axes.
    ///
    /// - Throws: `KitError`: the file takes none of this size.
    public func array(_ prepared: Prepared) throws -> Tensor {
        let seen = prepared.input
        let (count, channels) = (seen.width * seen.height, seen.channels)
        let given = picture?.normalization
        let inside = given?.inside ?? false
        let (scale, mean, std) = (given?.scale ?? 1 / 255, given?.mean ?? input.mean, given?.std ?? input.std)
        guard inside || (mean.count == channels && std.count == channels) else {
            throw KitError("The manifest of \(file) has \(mean.count) means for \(channels) channels.")
        }
        let reversed = (picture?.channelOrder ?? input.channelOrder) == "BGR"
        let values = [Float](unsafeUninitializedCapacity: count * channels) { buffer, filled in
            for channel in 0..<channels {
                let from = reversed ? channels - 1 - channel : channel
                var table = [Float](repeating: 0, count: 256)
                for pixel in 0..<256 {
                    let exact = inside ? Double(pixel) : (Double(pixel) * scale - mean[channel]) / std[channel]
                    table[pixel] = Float(exact)
                }
                for i in 0..<count {
                    buffer[channel * count + i] = table[Int(seen.pixels[i * channels + from])]
                }
            }
            filled = count * channels
        }
        return try arranged(Tensor(trusted: input.shape, values))
    }

    /// An array in the model's order of axes, in the order and shape that the file takes.
    ///
    /// - Throws: `KitError`: the file's input has another size.
    public func arranged(_ tensor: Tensor) throws -> Tensor {
        guard let picture else { return tensor }
        let model = tensor.shape.count == 5 ? "NCTHW" : "NCHW"
        let layout = picture.layout ?? model
        let missing = model.filter { !layout.contains($0) }  // such as ncnn's, which has no batch
        let made = tensor.arranged(from: model, to: missing + layout)
        let shape = Array(made.shape.dropFirst(missing.count))
        let fits = picture.shape.count == shape.count && zip(picture.shape, shape).allSatisfy { $0 == nil || $0 == $1 }
        guard fits else {
            throw KitError(
                "The manifest of \(file) says that the file takes \(picture.shape.map { $0 ?? 0 }), and the model \(input.shape)."
            )
        }
        return Tensor(trusted: shape, made.values)
    }
}
