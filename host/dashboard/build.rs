//! The folder of the built web UI must be there for the build to look into; when it changes, the binary does too.

fn main() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist");
    // Where it cannot be made, the binary carries nothing and says so at its start.
    let _ = std::fs::create_dir_all(&folder);
    println!("cargo::rerun-if-changed={}", folder.display());
}
