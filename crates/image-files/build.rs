//! Compiles the few lines of C that reach into libjpeg, against the headers of the libjpeg that is linked.

use std::env;

fn main() {
    const SOURCE: &str = "src/decode/jpeg/hooks.c";
    println!("cargo:rerun-if-changed={SOURCE}");
    let headers = env::var_os("DEP_JPEG_INCLUDE").expect("mozjpeg-sys says where its headers are");
    cc::Build::new().includes(env::split_paths(&headers)).file(SOURCE).compile("image_files_hooks");
}
