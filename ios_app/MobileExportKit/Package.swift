// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "MobileExportKit",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "MobileExportKit", targets: ["MobileExportKit"])],
    targets: [
        .target(name: "MobileExportKit"),
        .testTarget(name: "MobileExportKitTests", dependencies: ["MobileExportKit"]),
    ]
)
