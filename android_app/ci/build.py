"""Builds and tests the app without Gradle, the Android SDK or a phone: Python's own library only.

    python ci/build.py fetch             # what Maven has, about 0.5 GB, once
    python ci/build.py apk -o app.apk    # a debug APK, aligned and signed
    python ci/build.py test --vectors ../tests/vectors --models FOLDER -o OUT --classes …

Tools: a JDK 17 with javac, mvn, aapt2, zipalign, apksigner (Debian: `maven aapt zipalign
apksigner`), for the tests gcc and patchelf. Versions come from gradle/libs.versions.toml, which
Gradle reads too, and from ci/tools.toml. Maven's files are kept in `--cache`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from patch_elf import patch

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "dev.mobileexport.sample"
ABIS = ("arm64-v8a", "x86_64")
_LINKED = ("-Wl,--no-as-needed", "-lm", "-ldl")
_POM = """<project><modelVersion>4.0.0</modelVersion><groupId>ci</groupId>
<artifactId>ci</artifactId><version>1</version><dependencies>{}</dependencies></project>"""
_ALONE = (
    "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
)
_WITH_DEPENDENCIES = ("compiler", "test")
_JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A JVM that lives for seconds: without the second compiler, kotlinc takes half the time."""


class BuildError(Exception):
    """One sentence, and what a tool said."""


def run(*words: object, cwd: Path | None = None) -> str:
    """Run a tool; what it printed.

    Raises:
        BuildError: it failed.
    """
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-6000:]
        raise BuildError(f"{Path(command[0]).name} failed:\n{said}")
    return done.stdout


def tools() -> dict[str, dict[str, Any]]:
    """The tables of tools.toml."""
    return tomllib.loads((ROOT / "ci" / "tools.toml").read_text())


def versions() -> dict[str, str]:
    """Of Gradle's catalog."""
    text = (ROOT / "gradle" / "libs.versions.toml").read_text()
    found: dict[str, str] = tomllib.loads(text)["versions"]
    return found


class Libraries:
    """What Maven has: a folder of jars for each group of tools.toml, kept in a cache."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.groups = {name: row for name, row in tools().items() if "artifacts" in row}

    def folder(self, group: str) -> Path:
        """The jars of a group, fetched when they are not there."""
        artifacts = [each.format_map(versions()) for each in self.groups[group]["artifacts"]]
        key = hashlib.sha256(repr(artifacts).encode()).hexdigest()[:12]
        folder = self.cache / f"{group}-{key}"
        if not folder.is_dir():
            self._fetch(group, artifacts, folder)
        return folder

    def jars(self, *groups: str) -> list[Path]:
        """All jars of groups, sorted by name."""
        return [jar for group in groups for jar in sorted(self.folder(group).glob("*.jar"))]

    def _fetch(self, group: str, artifacts: Sequence[str], folder: Path) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        rows = []
        for artifact in artifacts:
            name, module, version, kind = [*artifact.split(":"), "jar"][:4]
            alone = "" if group in _WITH_DEPENDENCIES else _ALONE
            rows.append(
                f"<dependency><groupId>{name}</groupId><artifactId>{module}</artifactId>"
                f"<version>{version}</version><type>{kind}</type>{alone}</dependency>"
            )
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            pom = Path(scratch) / "pom.xml"
            pom.write_text(_POM.format("".join(rows)))
            plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
            target = Path(scratch) / "jars"
            run("mvn", "-B", "-q", "-f", pom, plugin, f"-DoutputDirectory={target}")
            for aar in target.glob("*.aar"):
                _unpack(aar)
            target.rename(folder)


def _unpack(aar: Path) -> None:
    """The classes of an AAR as a jar, its native libraries in a folder, both beside it."""
    with zipfile.ZipFile(aar) as archive:
        aar.with_suffix(".jar").write_bytes(archive.read("classes.jar"))
        for name in archive.namelist():
            if name.startswith("jni/") and name.endswith(".so"):
                archive.extract(name, aar.parent)


class Build:
    """One build: sources and resources in ``ROOT``, everything it makes in ``out``."""

    def __init__(self, libraries: Libraries, out: Path) -> None:
        self.libraries, self.out = libraries, out
        self.main = ROOT / "app" / "src" / "main"
        out.mkdir(parents=True, exist_ok=True)
        (self.platform,) = libraries.jars("platform")
        self.versions = versions()
        text = (ROOT / "app" / "build.gradle.kts").read_text()
        found = re.search(r'applicationId = "([\w.]+)"', text)
        if found is None:
            raise BuildError("app/build.gradle.kts has no applicationId")
        self.identifier = found[1]

    def resources(self, assets: Path) -> Path:
        """Compile resources: an archive without code, and the class R."""
        text = (self.main / "AndroidManifest.xml").read_text()
        manifest = self.out / "AndroidManifest.xml"
        # Gradle's plugin takes the namespace from build.gradle.kts and refuses it in the manifest.
        text = text.replace("<manifest ", f'<manifest package="{NAMESPACE}" ', 1)
        # Debian's aapt2 is older than this element, which is for the GPU delegate.
        manifest.write_text(re.sub(r"<uses-native-library[^>]*/>", "", text))
        compiled, base, java = self.out / "res.zip", self.out / "base.apk", self.out / "java"
        run("aapt2", "compile", "--dir", self.main / "res", "-o", compiled)
        least, target = self.versions["minSdk"], self.versions["compileSdk"]
        run(
            *("aapt2", "link", "-I", self.platform, "--manifest", manifest, "-A", assets),
            *("--min-sdk-version", least, "--target-sdk-version", target),
            *("--version-code", 1, "--version-name", "1.0", "-0", "tflite", "-0", "onnx"),
            *("--rename-manifest-package", self.identifier, "--custom-package", NAMESPACE),
            *("--debug-mode", "--java", java, "-o", base, compiled),
        )
        classes = self.out / "classes-r"
        classes.mkdir(exist_ok=True)
        source = java / Path(*NAMESPACE.split(".")) / "R.java"
        run("javac", "-nowarn", "--release", 17, "-d", classes, source)
        return base

    def kotlin(self, sources: Sequence[Path], name: str, classpath: Sequence[Path]) -> Path:
        """Compile Kotlin; what was compiled from the same sources is used again."""
        classes = self.libraries.cache / "compiled" / f"{name}-{_digest(sources, classpath)}"
        if classes.is_dir():
            return classes
        compiler = ":".join(map(str, self.libraries.jars("compiler")))
        with tempfile.TemporaryDirectory(dir=self.libraries.cache) as scratch:
            target = Path(scratch) / "classes"
            run(
                *(*_JAVA, "-cp", compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"),
                *("-no-stdlib", "-no-reflect", "-jvm-target", 17, "-d", target),
                *("-cp", ":".join(map(str, classpath)), *sources),
            )
            classes.parent.mkdir(exist_ok=True)
            if not classes.is_dir():
                target.rename(classes)
        return classes

    @property
    def standard(self) -> list[Path]:
        """Kotlin's own library."""
        return [jar for jar in self.libraries.jars("compiler") if "kotlin-stdlib" in jar.name]

    @property
    def engines(self) -> list[Path]:
        """TensorFlow Lite's and onnxruntime's classes."""
        return self.libraries.jars("aar", "onnxruntime")

    def code(self, platform: Path | None = None) -> Path:
        """The app's classes, compiled against an Android of `platform`."""
        classpath = [*self.standard, *self.engines, self.out / "classes-r"]
        return self.kotlin([self.main / "kotlin"], "main", [*classpath, platform or self.platform])

    def apk(self, target: Path) -> None:
        """A debug APK: aligned, and signed with a key that is made once."""
        base, code = self.resources(self.main / "assets"), self.code()
        native = self.libraries.folder("aar") / "jni"
        raw, aligned = self.out / "raw.apk", self.out / "aligned.apk"
        shutil.copy(base, raw)
        with zipfile.ZipFile(raw, "a", zipfile.ZIP_DEFLATED) as archive:
            for dex in self._dex(code):
                archive.write(dex, dex.name)
            for abi in ABIS:
                for library in sorted((native / abi).glob("*.so")):
                    # Stored, for Android maps it from the APK (extractNativeLibs is false).
                    archive.write(library, f"lib/{abi}/{library.name}", zipfile.ZIP_STORED)
        run("zipalign", "-f", "-p", 4, raw, aligned)
        key = self._debug_key()
        words = ("--ks", key, "--ks-pass", "pass:android", "--min-sdk-version")
        signed = self.out / "signed.apk"
        run("apksigner", "sign", *words, self.versions["minSdk"], "--out", signed, aligned)
        run("apksigner", "verify", "--min-sdk-version", self.versions["minSdk"], signed)
        shutil.move(signed, target)

    def _dex(self, code: Path) -> list[Path]:
        """Dalvik code of the app and its libraries; that of the libraries is kept."""
        (dexer,) = self.libraries.jars("dexer")
        home = Path(shutil.which("javac") or "").resolve().parent.parent
        lib = ("--lib", self.platform, "--lib", home)
        words = (*_JAVA, "-cp", dexer, "com.android.tools.r8.D8", "--release", "--min-api")
        words = (*words, self.versions["minSdk"], *lib)
        libraries = [*self.standard, *self._without_natives(self.engines)]
        kept = self.libraries.cache / "compiled" / f"dex-{_digest((), libraries)}.zip"
        if not kept.is_file():
            kept.parent.mkdir(exist_ok=True)
            made = self.out / "libraries.zip"
            run(*words, "--intermediate", "--output", made, *libraries)
            shutil.move(made, kept)
        folder = self.out / "dex"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        own = sorted([*code.rglob("*.class"), *(self.out / "classes-r").rglob("*.class")])
        classpath = [word for each in libraries for word in ("--classpath", each)]
        run(*words, *classpath, "--output", folder, kept, *own)
        return sorted(folder.glob("*.dex"))

    def _without_natives(self, jars: Sequence[Path]) -> list[Path]:
        """onnxruntime's jar holds libraries for desktops, which have no place in an APK."""
        found = []
        for jar in jars:
            copy = self.out / "plain" / jar.name
            copy.parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(jar) as source, zipfile.ZipFile(copy, "w") as target:
                for name in source.namelist():
                    if name.endswith(".class"):
                        target.writestr(zipfile.ZipInfo(name), source.read(name))
            found.append(copy)
        return found

    def _debug_key(self) -> Path:
        key = self.libraries.cache / "debug.p12"
        if not key.is_file():
            words = ("-storetype", "PKCS12", "-storepass", "android", "-alias", "debug")
            words = (*words, "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000")
            run("keytool", "-genkeypair", "-keystore", key, *words, "-dname", "CN=debug")
        return key

    def test(self, classes: Sequence[str], models: Path, properties: dict[str, object]) -> str:
        """Run JUnit classes: the kit, and the app under Robolectric with ``models`` as assets."""
        assets = self.out / "assets"
        shutil.rmtree(assets, ignore_errors=True)
        shutil.copytree(self.main / "assets", assets)
        for path in models.iterdir():
            shutil.copy(path, assets / "models" / path.name)
        base, code = self.resources(assets), self.code()
        libraries = [*self.standard, *self.engines, *self.libraries.jars("test")]
        libraries += [_classes_of(aar) for aar in self.libraries.folder("test").glob("*.aar")]
        tests = ROOT / "app" / "src" / "test" / "kotlin"
        r = self.out / "classes-r"
        built = self.kotlin([tests], "test", [code, *dict.fromkeys(libraries), r, self.platform])
        config = self.out / "config" / "com" / "android" / "tools" / "test_config.properties"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(
            f"android_resource_apk={base}\nandroid_merged_assets={assets}\n"
            f"android_merged_manifest={self.out / 'AndroidManifest.xml'}\n"
            f"android_custom_package={NAMESPACE}\n"
        )
        classpath = [self.out / "config", built, code, r, *dict.fromkeys(libraries), self.platform]
        return run(
            *(*_JAVA, "-Xmx3g", f"-Djava.library.path={self._shim()}"),
            *(f"-D{name}={value}" for name, value in properties.items()),
            *("-Drobolectric.offline=true", f"-Dscreens={self.out / 'screens'}"),
            f"-Drobolectric.dependency.dir={self.libraries.folder('sandbox')}",
            *("-cp", ":".join(map(str, classpath)), "org.junit.runner.JUnitCore", *classes),
        )

    def program(self, sources: Sequence[Path], words: Sequence[str]) -> str:
        """Compile ``Program.kt`` against the app and engines, and run its main function."""
        self.resources(self.main / "assets")
        json = [jar for jar in self.libraries.jars("test") if jar.name.startswith("json-")]
        libraries = [self.code(), *self.standard, *self.engines, *json]
        code = self.kotlin(sources, "program", libraries)
        return run(
            *(*_JAVA, f"-Djava.library.path={self._shim()}", "-cp"),
            *(":".join(map(str, [code, *libraries])), "ProgramKt", *words),
        )

    def _shim(self) -> Path:
        """TensorFlow Lite's library for Android on x86_64, made to load here."""
        source = self.libraries.folder("aar") / "jni" / "x86_64" / "libtensorflowlite_jni.so"
        shim = Path(__file__).parent / "bionic_shim.c"
        folder = self.libraries.cache / "compiled" / f"shim-{_digest([shim], [source])}"
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=self.libraries.cache) as scratch:
            made = Path(scratch) / "shim"
            made.mkdir()
            run("gcc", "-shared", "-fPIC", "-O1", "-o", made / "libbionic.so", shim, *_LINKED)
            library = made / source.name
            patch(source, library)
            run("patchelf", "--set-rpath", "$ORIGIN", library)
            for name in ("libc.so", "libm.so", "libdl.so", "liblog.so"):
                run("patchelf", "--replace-needed", name, "libbionic.so", library)
            folder.parent.mkdir(exist_ok=True)
            made.rename(folder)
        return folder


def _classes_of(aar: Path) -> Path:
    return aar.with_suffix(".jar")


def _digest(sources: Iterable[Path], others: Iterable[Path]) -> str:
    """Of the contents of sources, and of the names and sizes of others."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*.kt")) if source.is_dir() else [source]:
            digest.update(path.name.encode() + path.read_bytes())
    for other in others:
        size = other.stat().st_size if other.is_file() else 0
        digest.update(f"{other.name} {size}".encode())
    return digest.hexdigest()[:12]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mobile-export" / "android"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("fetch", "apk", "test", "program", "compile-min"))
    parser.add_argument("-o", dest="out", type=Path, default=Path("app-debug.apk"))
    parser.add_argument("--cache", type=Path, default=_cache())
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--pictures", type=Path, help="bad ones, for the tests")
    parser.add_argument("--sources", type=Path, nargs="+", default=[], help="of a program")
    parser.add_argument("--words", nargs="+", default=[], help="that a program is given")
    parser.add_argument("--classes", nargs="+", default=[], help="of JUnit")
    given = parser.parse_args()
    programs = tools()["programs"] | (
        tools()["programs-of-tests"] if given.what in ("test", "program") else {}
    )
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        packages = " ".join(sorted({programs[program] for program in lacking}))
        sys.exit(f"{', '.join(lacking)} cannot be found. On Debian: apt-get install {packages}")
    libraries = Libraries(given.cache)
    try:
        if given.what == "fetch":
            for group in libraries.groups:
                libraries.folder(group)
        elif given.what == "compile-min":
            with tempfile.TemporaryDirectory() as scratch:
                build = Build(libraries, Path(scratch))
                build.resources(build.main / "assets")
                build.code(*libraries.jars("platform-min"))
        elif given.what == "program":
            with tempfile.TemporaryDirectory() as scratch:
                build = Build(libraries, Path(scratch))
                print(build.program(given.sources, given.words))
        elif given.what == "apk":
            with tempfile.TemporaryDirectory() as scratch:
                Build(libraries, Path(scratch)).apk(given.out)
            print(given.out)
        else:
            out = given.out.resolve()
            build = Build(libraries, out)
            folders = {"vectors": given.vectors, "pictures": given.pictures}
            properties: dict[str, object] = {n: p.resolve() for n, p in folders.items() if p}
            print(build.test(given.classes, given.models.resolve(), properties))
    except BuildError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
