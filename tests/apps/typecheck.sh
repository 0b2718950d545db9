# Type-checks the app's sources against stubs of Apple's libraries. In the checkout; $1: a folder for modules;
# $2: another file, which is checked in place of the app, with modules that are there.
set -e
mkdir -p "$1"
if [ -n "${2:-}" ] && [ -f "$1/PhotosUI.swiftmodule" ] && [ -f "$1/MobileExportKit.swiftmodule" ]; then
    swiftc -typecheck -warnings-as-errors -parse-as-library -swift-version 5 -I "$1" "$2"
    exit
fi
for name in CoreGraphics CoreVideo ImageIO UIKit UniformTypeIdentifiers CoreML AVFoundation SwiftUI PhotosUI; do
    swiftc -emit-module -parse-as-library -swift-version 5 -module-name $name -I "$1" \
        -emit-module-path "$1/$name.swiftmodule" tests/apps/stubs/$name.swift
done
swiftc -emit-module -parse-as-library -swift-version 6 -module-name MobileExportKit \
    -emit-module-path "$1/MobileExportKit.swiftmodule" ios_app/MobileExportKit/Sources/MobileExportKit/*.swift
swiftc -frontend -parse ios_app/App/*.swift
swiftc -typecheck -warnings-as-errors -parse-as-library -swift-version 5 -I "$1" ios_app/App/*.swift
# What the stubs do not have is refused, so they are used.
sed 's/\.multiArrayValue/.multiArrayValu/' ios_app/App/CoreMLModel.swift >"$1/CoreMLModel.swift"
rest=$(ls ios_app/App/*.swift | grep -v CoreMLModel)
if swiftc -typecheck -parse-as-library -swift-version 5 -I "$1" $rest "$1/CoreMLModel.swift" 2>"$1/said"; then
    echo "a member that does not exist was not refused"
    exit 1
fi
grep -q "has no member 'multiArrayValu'" "$1/said"
if [ -n "${2:-}" ]; then
    swiftc -typecheck -warnings-as-errors -parse-as-library -swift-version 5 -I "$1" "$2"
fi
