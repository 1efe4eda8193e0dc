#!/bin/sh
# Makes a Rust toolchain for the chips from Debian's packages: README.md says why and what is in it.
#
#     build.sh FOLDER TARGET...       in an empty folder, after apt-get update
set -eu

folder=$(readlink -f "$1")
shift
root=$folder/root

# Downloads the packages that are not installed, and unpacks them beside the system.
mkdir -p "$folder/packages/partial" "$root"
apt-get install --download-only --yes --no-install-recommends \
    -o Dir::Cache::archives="$folder/packages" rustc-web rust-web-src
for package in "$folder"/packages/*.deb; do
    dpkg -x "$package" "$root"
done
rm -r "$folder/packages"

cat > "$folder/rustc" <<END
#!/bin/sh
# The folder can be moved.
root=\$(dirname "\$(readlink -f "\$0")")/root
export LD_LIBRARY_PATH="\$root/usr/lib/x86_64-linux-gnu"
"\$root/usr/bin/rustc" "\$@" || exit
# This line tells cargo this compiler from others of its version: two toolchains must not mix the
# libraries that were made for them.
test "\$*" != -vV || echo "camwire: $(date +%s%N)"
END
chmod +x "$folder/rustc"

# Prints the compiler's specification of an Xtensa target, changed to what Debian's LLVM can do:
# the layout of data is that of another LLVM, and with floating point it cannot compile core. It does
# not know the ESP32-S3: the features name its instructions, of which s32c1i matters most, since
# without it there is no compare-and-swap.
specification() {
    case $1 in
    *esp32s3*)
        cpu=generic
        features=+bool,+clamps,+density,+div32,+loop,+mac16,+minmax,+mul16,+mul32,+mul32high,+nsa
        features=$features,+s32c1i,+sext,+threadptr,+windowed,-fp
        ;;
    *)
        cpu=esp32
        features=-fp
        ;;
    esac
    RUSTC_BOOTSTRAP=1 "$folder/rustc" -Zunstable-options --print target-spec-json \
        --target "$(echo "$1" | sed s/esp32s3/esp32/)" |
        sed -e "s/^ *\"cpu\":.*/\"cpu\": \"$cpu\",/" \
            -e "s/^ *\"data-layout\":.*/\"data-layout\": \"e-m:e-p:32:32-i8:8:32-i16:16:32-i64:64-n32\",\n\"features\": \"$features\",/"
}

# Between compiler flags, which may hold spaces.
and=$(printf '\037')

empty=$folder/empty
mkdir -p "$empty/src"
echo '#![no_std]' > "$empty/src/lib.rs"
cat > "$empty/Cargo.toml" <<END
[package]
name = "empty"
edition = "2024"

[workspace]

[profile.release]
panic = "abort"
END

for target; do
    case $target in
    # std, as far as it takes to check what uses it: linking would take ESP-IDF itself.
    *-espidf) build="check -Zbuild-std=std,panic_abort" flags="--cfg=espidf_time64${and}-Zno-codegen" kind=rmeta ;;
    # core and alloc, with bitcode: firmware is linked with LTO over core.
    *) build="build -Zbuild-std=core,alloc" flags="-Cembed-bitcode=yes" kind=rlib ;;
    esac
    name=$target
    case $target in
    xtensa-*)
        specification "$target" > "$folder/$target.json"
        name=$folder/$target.json
        ;;
    esac
    # Panics of core name its sources: not where they were on this machine.
    (
        cd "$empty"
        RUSTC=$folder/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$empty/target \
            CARGO_ENCODED_RUSTFLAGS="$flags${and}--remap-path-prefix=$root/usr=/usr" \
            cargo $build --release -Zjson-target-spec --target "$name"
    )
    libraries=$root/usr/lib/rustlib/$target/lib
    mkdir -p "$libraries"
    for library in "$empty/target/$target/release/deps"/*."$kind"; do
        case $library in
        */libempty-*) ;;
        *) cp "$library" "$libraries" ;;
        esac
    done
done
# The sources are most of it.
rm -r "$empty" "$root/usr/src"
