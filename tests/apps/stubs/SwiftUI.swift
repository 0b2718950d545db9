@_exported import CoreGraphics
@_exported import Foundation
@_exported import UniformTypeIdentifiers

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }
public protocol Prim: View where Body == Never {}
extension Prim { public var body: Never { fatalError() } }
@resultBuilder public struct ViewBuilder {
    public static func buildBlock() -> EmptyView { EmptyView() }
    public static func buildBlock<each C: View>(_ c: repeat each C) -> TupleView<(repeat each C)> { TupleView() }
    public static func buildBlock<C: View>(_ c: C) -> C { c }
    public static func buildEither<T: View, F: View>(first: T) -> Either<T, F> { Either() }
    public static func buildEither<T: View, F: View>(second: F) -> Either<T, F> { Either() }
    public static func buildIf<C: View>(_ c: C?) -> C? { c }
    public static func buildExpression<C: View>(_ c: C) -> C { c }
}
extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }
public struct EmptyView: Prim { nonisolated public init() {} }
public struct TupleView<T>: Prim { nonisolated public init() {} }
public struct Either<T: View, F: View>: Prim { nonisolated public init() {} }
public struct Modified: Prim { nonisolated public init() {} }
@MainActor public protocol Scene {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
}
extension Never: Scene {}
@resultBuilder public struct SceneBuilder { public static func buildBlock<C: Scene>(_ c: C) -> C { c } }
public struct WindowGroup<C: View>: Scene {
    nonisolated public init(@ViewBuilder content: () -> C) {}
    public var body: Never { fatalError() }
}
@MainActor public protocol App {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
    init()
}
extension App { public static func main() {} }
@propertyWrapper public struct State<V> {
    private let kept: V
    public init(wrappedValue: V) { kept = wrappedValue }
    public var wrappedValue: V {
        get { kept }
        nonmutating set {}
    }
    public var projectedValue: Binding<V> { fatalError() }
}
extension State where V: ExpressibleByNilLiteral { public init() { self.init(wrappedValue: nil) } }
@propertyWrapper public struct Binding<V> {
    public init(get: @escaping () -> V, set: @escaping (V) -> Void) {}
    public var wrappedValue: V {
        get { fatalError() }
        nonmutating set {}
    }
    public var projectedValue: Binding<V> { self }
}
public protocol ObservableObject: AnyObject {}
@propertyWrapper public struct Published<V> {
    public init(wrappedValue: V) { self.wrappedValue = wrappedValue }
    public var wrappedValue: V
}
@dynamicMemberLookup public struct ObservedWrapper<O: ObservableObject> {
    public subscript<V>(dynamicMember path: ReferenceWritableKeyPath<O, V>) -> Binding<V> { fatalError() }
}
@MainActor @propertyWrapper public struct StateObject<O: ObservableObject> {
    nonisolated public init(wrappedValue make: @autoclosure @escaping () -> O) {}
    public var wrappedValue: O { fatalError() }
    public var projectedValue: ObservedWrapper<O> { fatalError() }
}
public protocol Transferable {}
extension Data: Transferable {}
extension URL: Transferable {}
public struct Text: Prim {
    nonisolated public init(_ s: String) {}
    public func font(_ f: Font?) -> Text { self }
}
public struct Image: Prim {
    nonisolated public init(decorative: CGImage, scale: CGFloat) {}
    public func resizable() -> Image { self }
}
public enum HorizontalAlignment { case leading, center, trailing }
public struct VStack<C: View>: Prim {
    nonisolated public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> C) {}
}
public struct HStack<C: View>: Prim { nonisolated public init(spacing: CGFloat? = nil, @ViewBuilder content: () -> C) {} }
public struct ZStack<C: View>: Prim { nonisolated public init(@ViewBuilder content: () -> C) {} }
public struct ScrollView<C: View>: Prim { nonisolated public init(@ViewBuilder content: () -> C) {} }
public struct NavigationStack<C: View>: Prim { nonisolated public init(@ViewBuilder content: () -> C) {} }
public struct List<C: View>: Prim { nonisolated public init(@ViewBuilder content: () -> C) {} }
public struct ForEach<D: RandomAccessCollection, ID: Hashable, C: View>: Prim {
    nonisolated public init(_ d: D, id: KeyPath<D.Element, ID>, @ViewBuilder content: @escaping (D.Element) -> C) {}
}
extension ForEach where D.Element: Identifiable, ID == D.Element.ID {
    nonisolated public init(_ d: D, @ViewBuilder content: @escaping (D.Element) -> C) {}
}
public struct NavigationLink<L: View, D: View>: Prim {
    nonisolated public init(@ViewBuilder destination: () -> D, @ViewBuilder label: () -> L) {}
}
public struct Button: Prim { nonisolated public init(_ title: String, action: @escaping @MainActor () -> Void) {} }
public struct Picker<S: Hashable, C: View>: Prim {
    nonisolated public init(_ title: String, selection: Binding<S>, @ViewBuilder content: () -> C) {}
}
public struct ProgressView: Prim { nonisolated public init(_ title: String) {} }
public struct ShareLink: Prim { nonisolated public init(_ title: String, item: URL) {} }
public struct Rectangle: Prim {
    nonisolated public init() {}
    public func fill(_ colour: Color) -> some View { Modified() }
}
public protocol ShapeStyle {}
public struct Hierarchical: ShapeStyle {}
extension ShapeStyle where Self == Hierarchical { public static var secondary: Hierarchical { Hierarchical() } }
extension ShapeStyle where Self == Color { public static var red: Color { Color(red: 1, green: 0, blue: 0) } }
public struct Color: Prim, ShapeStyle, Sendable {
    nonisolated public init(red: Double, green: Double, blue: Double, opacity: Double = 1) {}
}
public struct Font: Sendable {
    public static let body = Font()
    public static let caption = Font()
}
public struct UnitPoint: Sendable {
    public static let center = UnitPoint()
    public static let bottomLeading = UnitPoint()
}
public struct Path: Sendable { public init(_ rect: CGRect) {} }
public struct GraphicsContext {
    public struct Shading { public static func color(_ color: Color) -> Shading { Shading() } }
    public func stroke(_ path: Path, with shading: Shading, lineWidth: CGFloat = 1) {}
    public func draw(_ text: Text, at point: CGPoint, anchor: UnitPoint = .center) {}
}
public struct Canvas: Prim {
    nonisolated public init(renderer: @escaping (inout GraphicsContext, CGSize) -> Void) {}
}
extension View {
    public func padding() -> some View { Modified() }
    public func scaledToFit() -> some View { Modified() }
    public func opacity(_ opacity: Double) -> some View { Modified() }
    public func frame(width: CGFloat? = nil, height: CGFloat? = nil) -> some View { Modified() }
    public func overlay<V: View>(@ViewBuilder content: () -> V) -> some View { Modified() }
    public func font(_ f: Font?) -> some View { Modified() }
    public func foregroundStyle<S: ShapeStyle>(_ s: S) -> some View { Modified() }
    public func navigationTitle(_ s: String) -> some View { Modified() }
    public func toolbar<C: View>(@ViewBuilder content: () -> C) -> some View { Modified() }
    public func tag<V: Hashable>(_ tag: V) -> some View { Modified() }
    public func disabled(_ disabled: Bool) -> some View { Modified() }
    public func onDisappear(perform: (() -> Void)? = nil) -> some View { Modified() }
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View { Modified() }
    public func onChange<V: Equatable>(of v: V, perform: @escaping (V) -> Void) -> some View { Modified() }
    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType], allowsMultipleSelection: Bool,
        onCompletion: @escaping (Result<[URL], any Error>) -> Void
    ) -> some View { Modified() }
}
extension URL {
    public func startAccessingSecurityScopedResource() -> Bool { true }
    public func stopAccessingSecurityScopedResource() {}
}
