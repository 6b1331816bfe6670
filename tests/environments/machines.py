"""The machines there are, and how each is made."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from functools import cache, partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from tests.environments import packages
from tests.environments.cache import Folder, PrepareError, call
from tests.environments.environment import Environment
from tests.environments.packages import download_debian, install_wheels, same_as_here, scratch

# What an arm64 Debian 12 Python and the three libraries load, and nothing else: no shell, no package manager.
_ARM64_PACKAGES = (
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "media-types"),
    *("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libssl3", "libsqlite3-0", "libbz2-1.0"),
    *("liblzma5", "libuuid1", "libcrypt1", "libncursesw6", "libtinfo6", "libreadline8", "libnsl2", "libtirpc3"),
    *("libdb5.3",),
)
_ARM64_WHEELS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_ONNXRUNTIME_NEEDS = ("flatbuffers", "packaging", "protobuf")
_LITERT_NEEDS = ("backports.strenum", "flatbuffers", "ml_dtypes", "protobuf", "tqdm", "typing_extensions")
_OLDEST_QEMU = (7, 2)  # the first that emulates AVX2; before it, "Haswell" runs the code of a much older processor


def environments() -> dict[str, Environment]:
    """Return every environment by name, prepared or not."""
    all_of_them = (_native(), _haswell(), _arm64(), _onnxruntime_1_27(), _tflite_runtime_2_14())
    return {environment.name: environment for environment in all_of_them}


def prepare(name: str) -> bool:
    """Make one environment; return whether there was anything to do."""
    return environments()[name].prepare()


def _native() -> Environment:
    return Environment("native", "this interpreter, on this processor", (sys.executable,))


def _haswell() -> Environment:
    qemu, folders = _qemu("x86_64")
    return Environment(
        "haswell",
        "x86-64 with AVX2 and without VNNI, emulated: 8-bit products saturate",
        # `check=off`: without it, six warnings per process about features that no user program sees
        (qemu, "-cpu", "Haswell,check=off", sys.executable),
        folders=folders,
        obstacle=_foreign(),
    )


def _arm64() -> Environment:
    qemu, qemu_folders = _qemu("aarch64")
    wheels, obstacle = _pins("numpy", "onnxruntime", "ai-edge-litert", *_ONNXRUNTIME_NEEDS, *_LITERT_NEEDS)
    folder = Folder(
        "arm64",
        (*_code(), *_ARM64_PACKAGES, *wheels),
        partial(_build_arm64, wheels=wheels, qemu=qemu, qemu_folders=qemu_folders),
    )
    return Environment(
        "arm64",
        "ARM64, the phones' processor, emulated: Debian's Python 3.11 and this interpreter's library versions",
        _in_chroot(folder.path),
        site=(Path("/opt/site"),),
        chroot=folder.path,
        folders=(folder,),
        obstacle=_foreign() or obstacle,
    )


def _build_arm64(folder: Path, wheels: list[str], qemu: Path, qemu_folders: tuple[Folder, ...]) -> None:
    with scratch(folder) as name:
        for package in download_debian(_ARM64_PACKAGES, "arm64", Path(name)):
            call(["dpkg", "-x", package, folder])
    target = ["--implementation", "cp", "--python-version", "3.11"]
    target += [word for tag in _ARM64_WHEELS for word in ("--platform", tag)]
    install_wheels(wheels, *target, "--target", folder / "opt" / "site")
    (folder / "tmp").mkdir(exist_ok=True)
    # Last, so that it is downloaded (for `haswell`, in another thread) while the above is.
    for needed in qemu_folders:
        needed.make()
    shutil.copy(qemu, folder / "usr" / "bin" / "qemu-aarch64-static")
    check = "import numpy, onnxruntime, ai_edge_litert.interpreter"
    call([*_in_chroot(folder), "-c", check], env={"PYTHONPATH": "/opt/site"})


def _in_chroot(root: Path) -> tuple[str | Path, ...]:
    """Return the command line of the emulated Python of a root.

    A chroot and not `qemu -L`: with that, onnxruntime reads this machine's /sys and crashes.
    """
    # The right to chroot comes from root, or for anybody else from a user namespace of their own.
    become_root = () if os.geteuid() == 0 else ("unshare", "--map-root-user")
    chroot = shutil.which("chroot", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin") or "chroot"
    return (*become_root, chroot, root, "/usr/bin/qemu-aarch64-static", "/usr/bin/python3.11")


def _onnxruntime_1_27() -> Environment:
    wheels = ["onnxruntime==1.27.0", "numpy==2.4.6"]
    folder = Folder(
        "onnxruntime-1.27",
        (*_code(), platform.python_version(), *wheels),
        partial(_build_onnxruntime, wheels=wheels),
    )
    return Environment(
        "onnxruntime-1.27",
        "onnxruntime 1.27.0 and numpy 2.4.6, the pair that phone builds have, over this interpreter's packages",
        (sys.executable,),
        site=(folder.path,),
        folders=(folder,),
    )


def _build_onnxruntime(folder: Path, wheels: list[str]) -> None:
    install_wheels(wheels, "--target", folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    call([sys.executable, "-c", "import numpy, onnxruntime"], env=environ | {"PYTHONPATH": str(folder)})


def _tflite_runtime_2_14() -> Environment:
    wheels = ["tflite-runtime==2.14.0", "numpy==1.26.4"]
    pins, obstacle = _pins("onnxruntime", *_ONNXRUNTIME_NEEDS)
    # tflite-runtime 2.14 has no wheel for a newer Python.
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        obstacle = "needs Python 3.11"
    interpreter = Path(python or "python3.11").resolve()
    folder = Folder(
        "tflite-runtime-2.14",
        (*_code(), str(interpreter), *wheels, *pins),
        partial(_build_tflite_runtime, python=interpreter, wheels=[*wheels, *pins]),
    )
    return Environment(
        "tflite-runtime-2.14",
        "the last general tflite-runtime, 2.14.0, with numpy 1.26.4: an environment of its own, without ai-edge-litert",
        (folder.path / "bin" / "python",),
        folders=(folder,),
        obstacle=_foreign() or obstacle,
    )


def _build_tflite_runtime(folder: Path, python: Path, wheels: list[str]) -> None:
    # It is moved into place later, which would break console scripts; only its interpreter is used, and that survives.
    call([python, "-m", "venv", "--without-pip", folder])
    install_wheels(wheels, python=folder / "bin" / "python")
    call([folder / "bin" / "python", "-I", "-c", "import numpy, onnxruntime, tflite_runtime.interpreter"])


@cache
def _qemu(architecture: str) -> tuple[Path, tuple[Folder, ...]]:
    """Return an emulator and what must be made to have it: the installed one, or one unpacked without installing."""
    name = f"qemu-{architecture}-static"
    installed = shutil.which(name)
    if installed is not None:
        printed = subprocess.run([installed, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"version (\d+)\.(\d+)", printed)
        if found is not None and (int(found[1]), int(found[2])) >= _OLDEST_QEMU:
            return Path(installed), ()
    folder = Folder("qemu", _code(), _build_qemu)
    return folder.path / name, (folder,)


def _build_qemu(folder: Path) -> None:
    wanted = {"qemu-x86_64-static", "qemu-aarch64-static"}  # two of the package's sixty-odd, 24 MB of 300
    with scratch(folder) as name:
        (package,) = download_debian(["qemu-user-static"], "amd64", Path(name))
        unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        try:
            with unpack, tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
                for member in archive:
                    content = archive.extractfile(member) if Path(member.name).name in wanted else None
                    if content is not None:  # a file, not a link to one
                        binary = folder / Path(member.name).name
                        with binary.open("wb") as file:
                            shutil.copyfileobj(content, file)
                        binary.chmod(0o755)
        except tarfile.TarError as error:
            raise PrepareError(f"{package.name}: {error}") from error
    absent = {name for name in wanted if not (folder / name).is_file()}
    if absent:
        raise PrepareError(f"Debian's qemu-user-static has no {', '.join(sorted(absent))}")


def _foreign() -> str | None:
    """Tell why this machine cannot have the environments made of binaries for x86-64 Linux, or None."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return None
    return f"made only on Linux x86-64, and this is {sys.platform} {platform.machine()}"


def _pins(*names: str) -> tuple[list[str], str | None]:
    """Return requirements at this interpreter's versions, or why there are none."""
    try:
        return same_as_here(*dict.fromkeys(names)), None
    except PackageNotFoundError as error:
        return [], f"takes its versions from this interpreter, which has no {error.name}"


@cache
def _code() -> tuple[str, ...]:
    """Return the code that makes folders: a part of every recipe, so that a change to it is never forgotten."""
    return tuple(Path(file).read_text(encoding="utf-8") for file in (__file__, packages.__file__))
